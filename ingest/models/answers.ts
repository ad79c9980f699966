import type { ServedAlias } from '../../models/lifecycle/model-slot.js';
import type { Alias, ModelState, RegisteredVersion } from '../../models/lifecycle/state.js';
import type { AliasAnswer, AliasesAnswer, ListedVersion, ServedAnswer, VersionAnswer } from './schemas.js';

/** Source of events on `millrace.models` that a request caused. */
export const source = 'millrace/http';

export function toVersion(
  model: string,
  { version, digest, source: from, registeredAt }: RegisteredVersion,
): VersionAnswer {
  return { model, version, digest, source: from, registered_at: toTime(registeredAt) };
}

export function toAliases({ model, champion, challenger }: ModelState): AliasesAnswer {
  return {
    model,
    champion: champion === undefined ? null : toAlias(champion),
    challenger:
      challenger === undefined
        ? null
        : { ...toAlias(challenger), shadow: challenger.shadow, canary_share: challenger.canaryShare },
  };
}

function toAlias({ version, digest, previousVersion, event, at }: Alias): AliasAnswer {
  return {
    version,
    digest,
    previous_version: previousVersion,
    model_event: event,
    model_event_at: toTime(at),
  };
}

/** Returns the aliases of a version. */
export function aliasesOf({ champion, challenger }: ModelState, version: string): ListedVersion['aliases'] {
  const common = ({ at, event, previousVersion }: Alias) => ({
    since: toTime(at),
    model_event: event,
    previous_version: previousVersion,
  });
  const aliases: ListedVersion['aliases'] = [];
  if (champion?.version === version) aliases.push({ alias: 'champion', ...common(champion) });
  if (challenger?.version === version) {
    const { shadow, canaryShare } = challenger;
    aliases.push({ alias: 'challenger', shadow, canary_share: canaryShare, ...common(challenger) });
  }
  return aliases;
}

export function toServed({ version, event, at }: ServedAlias): ServedAnswer {
  const { manifest, digest } = version;
  return {
    version: manifest.version,
    digest,
    model_event: event,
    model_event_at: at === null ? null : toTime(at),
  };
}

export function toTime(milliseconds: number): string {
  return new Date(milliseconds).toISOString();
}
