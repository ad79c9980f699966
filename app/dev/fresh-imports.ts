import type { ResolveHook } from 'node:module';

/**
 * Hook of Node's module loader: the modules that a changed pipeline imports from its own folder are loaded
 * anew with it. Node keeps modules by their URL, so they get the query of the module that imports them.
 */
export const resolve: ResolveHook = async (specifier, context, next) => {
  const resolved = await next(specifier, context);
  const [folder, changed] = partsOf(context.parentURL ?? '');
  if (folder === undefined || !resolved.url.startsWith(folder) || resolved.url.includes('?')) return resolved;
  return { ...resolved, url: `${resolved.url}?${changed}` };
};

/** Returns the folder of the pipeline that a module belongs to, and the query with which it was loaded. */
function partsOf(url: string): [folder: string | undefined, changed: string] {
  const [, folder, changed = ''] =
    /^(file:.*\/processors\/pipelines\/[^/]+\/).*\?(changed=.*)$/.exec(url) ?? [];
  return [folder, changed];
}
