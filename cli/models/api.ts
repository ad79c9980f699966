import type { ModelManifest, GoldenRow } from '../../models/manifest.js';

/** `/v1/models/{name}` and its parts, as the API answers. */
export interface AliasAnswer {
  version: string;
  digest: string;
  previous_version: string | null;
  model_event: number;
  model_event_at: string;
}

export interface ChallengerAnswer extends AliasAnswer {
  shadow: boolean;
  canary_share: number;
}

export interface AliasesAnswer {
  model: string;
  champion: AliasAnswer | null;
  challenger: ChallengerAnswer | null;
}

export interface VersionAnswer {
  model: string;
  version: string;
  digest: string;
  source: string;
  registered_at: string;
}

/** Answer to a registration. */
export interface RegisteredAnswer extends VersionAnswer {
  /** Whether the same version had been registered before. */
  existed: boolean;
}

type ServedAnswer = Pick<AliasAnswer, 'version' | 'digest' | 'model_event'>;

export interface ModelAnswer extends AliasesAnswer {
  versions: VersionAnswer[];
  /** What the process that answers scores with. */
  serving: { champion: ServedAnswer; challenger: ServedAnswer | null; problems: string[] };
}

export interface VersionDetailAnswer extends VersionAnswer {
  manifest: ModelManifest;
  golden: { rows: GoldenRow[] };
}

/** Path of a model in the API; `rest` begins with a slash and is added as it is. */
export function modelPath(name: string, rest = ''): string {
  return `/v1/models/${encodeURIComponent(name)}${rest}`;
}
