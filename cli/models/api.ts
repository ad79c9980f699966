import type { Golden, ModelManifest } from '../../models/manifest.js';

/** Response types of `/v1/models/{name}` and its subresources. */
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

/** Response to a registration. */
export interface RegisteredAnswer extends VersionAnswer {
  /** Whether the version was already registered. */
  existed: boolean;
  /** Null if it was not checked again. */
  sample_events: number | null;
}

type ServedAnswer = Pick<AliasAnswer, 'version' | 'digest' | 'model_event'>;

export interface ModelAnswer extends AliasesAnswer {
  versions: VersionAnswer[];
  /** Versions that the responding process serves. */
  serving: { champion: ServedAnswer | null; challenger: ServedAnswer | null; problems: string[] };
}

export interface VersionDetailAnswer extends VersionAnswer {
  manifest: ModelManifest;
  golden: Golden;
}

/** Returns the API path of a model. `rest` starts with a slash and is appended unchanged. */
export function modelPath(name: string, rest = ''): string {
  return `/v1/models/${encodeURIComponent(name)}${rest}`;
}
