import type { Api } from './protocol/api.js';

/** Returns the table of supported APIs, in Markdown, as in embedded/README.md. */
export function servedApisTable(apis: readonly Api[]): string {
  const rows = apis.map(({ key, name, minVersion, maxVersion, flexibleFrom }) => {
    const versions = minVersion === maxVersion ? `${minVersion}` : `${minVersion}–${maxVersion}`;
    const flexible = flexibleFrom <= maxVersion ? `from ${flexibleFrom}` : '';
    return `| ${key} | ${name} | ${versions} | ${flexible} |`;
  });
  return ['| key | API | versions | flexible |', '| --- | --- | --- | --- |', ...rows].join('\n');
}
