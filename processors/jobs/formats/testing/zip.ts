import { crc32, deflateRawSync } from 'node:zlib';

/** A part of a zip file. */
export interface ZipPart {
  name: string;
  content: string | Buffer;
  /** The declared unpacked size, bytes. Default: the real one. */
  claimedBytes?: number;
}

/**
 * Writes a zip file of any parts, including invalid ones (PKWARE's APPNOTE 6.3.10, sections 4.3.7, 4.3.12 and
 * 4.3.16).
 */
export function zip(parts: readonly ZipPart[]): Buffer {
  const locals: Buffer[] = [];
  const centrals: Buffer[] = [];
  let offset = 0;
  for (const { name, content, claimedBytes } of parts) {
    const bytes = Buffer.from(content);
    const packed = deflateRawSync(bytes, { level: 1 });
    const common = Buffer.alloc(26);
    common.writeUInt16LE(20, 0);
    common.writeUInt16LE(8, 4);
    common.writeUInt32LE(crc32(bytes), 10);
    common.writeUInt32LE(packed.length, 14);
    common.writeUInt32LE(claimedBytes ?? bytes.length, 18);
    common.writeUInt16LE(Buffer.byteLength(name), 22);
    const local = Buffer.concat([Buffer.from('PK\x03\x04'), common, Buffer.from(name), packed]);
    const place = Buffer.alloc(14);
    place.writeUInt32LE(offset, 10);
    centrals.push(Buffer.concat([Buffer.from('PK\x01\x02\x14\x00'), common, place, Buffer.from(name)]));
    locals.push(local);
    offset += local.length;
  }
  const central = Buffer.concat(centrals);
  const end = Buffer.alloc(18);
  end.writeUInt16LE(parts.length, 4);
  end.writeUInt16LE(parts.length, 6);
  end.writeUInt32LE(central.length, 8);
  end.writeUInt32LE(offset, 12);
  return Buffer.concat([...locals, central, Buffer.from('PK\x05\x06'), end]);
}

const relations = 'http://schemas.openxmlformats.org/officeDocument/2006/relationships';
const packageRelations = 'http://schemas.openxmlformats.org/package/2006/relationships';
const sheetSpace = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"';

export interface WorkbookParts {
  /** Content of the sheet's `sheetData`. */
  rows?: string;
  /** Replaces the whole sheet. */
  sheet?: Omit<ZipPart, 'name'>;
  /** Content of the table of shared strings. */
  strings?: string;
  /** Content of the style sheet. */
  styles?: string;
  workbookProperties?: string;
  /** The namespace of the sheets' names in the workbook, and its prefix. */
  relations?: { namespace: string; prefix: string };
  contentType?: string;
  more?: ZipPart[];
}

/** Writes a workbook from its parts, the sheet before the strings, as Excel does. */
export function workbook({
  rows = '',
  sheet = { content: `<worksheet ${sheetSpace}><sheetData>${rows}</sheetData></worksheet>` },
  strings = '',
  styles = '',
  workbookProperties = '',
  relations: { namespace, prefix } = { namespace: relations, prefix: 'r' },
  contentType = 'application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml',
  more = [],
}: WorkbookParts): Buffer {
  const relation = (id: string, type: string, target: string): string =>
    `<Relationship Id="${id}" Type="${relations}/${type}" Target="${target}"/>`;
  return zip([
    {
      name: '[Content_Types].xml',
      content: `<Types><Override PartName="/xl/workbook.xml" ContentType="${contentType}"/></Types>`,
    },
    {
      name: '_rels/.rels',
      content: `<Relationships xmlns="${packageRelations}">${relation('rId1', 'officeDocument', 'xl/workbook.xml')}</Relationships>`,
    },
    {
      name: 'xl/workbook.xml',
      content: `<workbook ${sheetSpace} xmlns:${prefix}="${namespace}">${workbookProperties}<sheets><sheet name="One" sheetId="1" ${prefix}:id="rId1"/></sheets></workbook>`,
    },
    {
      name: 'xl/_rels/workbook.xml.rels',
      content: `<Relationships xmlns="${packageRelations}">${relation('rId1', 'worksheet', 'worksheets/sheet1.xml')}${relation('rId2', 'sharedStrings', 'sharedStrings.xml')}${relation('rId3', 'styles', '/xl/styles.xml')}</Relationships>`,
    },
    { name: 'xl/worksheets/sheet1.xml', ...sheet },
    { name: 'xl/sharedStrings.xml', content: `<sst ${sheetSpace}>${strings}</sst>` },
    { name: 'xl/styles.xml', content: `<styleSheet ${sheetSpace}>${styles}</styleSheet>` },
    ...more,
  ]);
}
