import { canonicalText, type CompatibilityLevel } from './avro.js';
import type { Change, Mode, SchemaVersion } from './log.js';

export interface VersionFilter {
  /** With soft-deleted versions. Default: without. */
  deleted?: boolean;
}

/** The registry's state, derived from the changes of its log in order. */
export class RegistryState {
  /** Returns the versions of a subject in ascending order, including soft-deleted ones. */
  readonly #subjects = new Map<string, SchemaVersion[]>();
  readonly #byId = new Map<number, SchemaVersion[]>();
  readonly #idByText = new Map<string, number>();
  readonly #levels = new Map<string | null, CompatibilityLevel>();
  readonly #modes = new Map<string | null, Mode>();
  #highestId = 0;

  apply(change: Change): void {
    switch (change.type) {
      case 'SCHEMA':
        this.#removeVersion(change.subject, change.version);
        if (change.value !== null) this.#addVersion(change.value);
        break;
      case 'CONFIG':
        if (change.value === null) this.#levels.delete(change.subject);
        else this.#levels.set(change.subject, change.value.compatibilityLevel);
        break;
      case 'MODE':
        if (change.value === null) this.#modes.delete(change.subject);
        else this.#modes.set(change.subject, change.value.mode);
        break;
      case 'HIGHEST_ID':
        this.#highestId = Math.max(this.#highestId, change.value.id);
        break;
    }
  }

  get highestId(): number {
    return this.#highestId;
  }

  subjects(filter: VersionFilter = {}): string[] {
    return [...this.#subjects.keys()]
      .filter((subject) => this.versions(subject, filter).length > 0)
      .toSorted();
  }

  versions(subject: string, filter: VersionFilter = {}): SchemaVersion[] {
    const versions = this.#subjects.get(subject) ?? [];
    return filter.deleted === true ? versions : versions.filter((version) => !version.deleted);
  }

  /** Returns the versions, of all subjects, with this id; soft-deleted ones too. */
  withId(id: number): SchemaVersion[] {
    return this.#byId.get(id) ?? [];
  }

  /** Returns the id of a schema anywhere in the registry. */
  idOf(schema: string): number | undefined {
    return this.#idByText.get(canonicalText(schema));
  }

  /** Returns the own setting of the subject, or of all with `null`. */
  level(subject: string | null): CompatibilityLevel | undefined {
    return this.#levels.get(subject);
  }

  mode(subject: string | null): Mode | undefined {
    return this.#modes.get(subject);
  }

  /** Returns the effective setting of the subject, or with `null` of those without one. */
  effectiveLevel(subject: string | null): CompatibilityLevel {
    return this.level(subject) ?? this.level(null) ?? 'BACKWARD';
  }

  effectiveMode(subject: string | null): Mode {
    const global = this.mode(null) ?? 'READWRITE';
    return global === 'READONLY_OVERRIDE' ? global : (this.mode(subject) ?? global);
  }

  #addVersion(added: SchemaVersion): void {
    const versions = [...(this.#subjects.get(added.subject) ?? []), added];
    this.#subjects.set(
      added.subject,
      versions.toSorted((a, b) => a.version - b.version),
    );
    this.#byId.set(added.id, [...this.withId(added.id), added]);
    this.#idByText.set(canonicalText(added.schema), added.id);
    this.#highestId = Math.max(this.#highestId, added.id);
  }

  #removeVersion(subject: string, version: number): void {
    const versions = this.#subjects.get(subject) ?? [];
    const removed = versions.find((candidate) => candidate.version === version);
    if (removed === undefined) return;
    replaceOrDelete(this.#subjects, subject, versions, removed);
    replaceOrDelete(this.#byId, removed.id, this.withId(removed.id), removed);
    if (!this.#byId.has(removed.id)) this.#idByText.delete(canonicalText(removed.schema));
  }
}

function replaceOrDelete<K>(
  map: Map<K, SchemaVersion[]>,
  key: K,
  list: SchemaVersion[],
  removed: SchemaVersion,
): void {
  const rest = list.filter((candidate) => candidate !== removed);
  if (rest.length === 0) map.delete(key);
  else map.set(key, rest);
}
