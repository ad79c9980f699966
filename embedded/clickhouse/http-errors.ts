/**
 * Returns the HTTP status for an error of ClickHouse, by the rules of its `exceptionCodeToHTTPStatus`
 * (src/Server/HTTP): 400 for invalid input, 404 for a name that does not exist, 500 for any other.
 *
 * @param code - a number of src/Common/ErrorCodes.cpp.
 */
export function httpStatusOf(code: number): number {
  return statusByCode.get(code) ?? 500;
}

const codesByStatus: [status: number, codes: number[]][] = [
  [
    400,
    [
      6, 8, 15, 25, 26, 27, 36, 37, 38, 41, 44, 53, 62, 72, 117, 123, 167, 168, 223, 321, 376, 427, 441, 675,
      676,
    ],
  ],
  [401, [194]],
  [403, [192, 193, 497, 512, 516]],
  [404, [46, 47, 50, 56, 60, 63, 73, 78, 81, 115, 152, 336, 511]],
  [408, [159]],
  [411, [381]],
  [413, [229]],
  [501, [48]],
  [503, [76, 209, 439]],
];

const statusByCode = new Map(
  codesByStatus.flatMap(([status, codes]) => codes.map((code) => [code, status] as const)),
);

/** An error in ClickHouse's form, for requests that the endpoint refuses before the engine. */
export function clickHouseError(code: number, name: string, text: string): Error {
  return new Error(`Code: ${code}. DB::Exception: ${text}. (${name})`);
}

/** Returns the number in `Code: 60. DB::Exception: …`; 0 when the text has none. */
export function codeOfText(text: string): number {
  return Number(/^Code: (\d+)\./.exec(text)?.[1] ?? 0);
}
