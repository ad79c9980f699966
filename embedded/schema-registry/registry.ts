import type { Type } from 'avsc';
import { MillraceError } from '../../platform/errors.js';
import { Mutex } from '../../platform/mutex.js';
import { canonicalText, incompatibilities, parseSchema, type CompatibilityLevel } from './avro.js';
import { encodeChange, type Change, type Mode, type RegistryLog, type SchemaVersion } from './log.js';
import type { RegistryState, VersionFilter } from './state.js';

export interface NewSchema {
  schema: string;
  /** Store the canonical text instead of the given one. */
  normalize: boolean;
  /** Given id and version, in mode IMPORT only. */
  id?: number | undefined;
  version?: number | undefined;
}

/**
 * A schema registry's rules, as in Confluent's. Writes happen one after the other; each is decided on the
 * state, written to the log, and only then becomes part of the state. Errors are {@link MillraceError}s;
 * `app.ts` maps them to numbers.
 */
export class Registry {
  readonly #log: RegistryLog;
  readonly #state: RegistryState;
  readonly #writes = new Mutex();

  constructor(log: RegistryLog, state: RegistryState) {
    this.#log = log;
    this.#state = state;
  }

  /** For reading; only this class changes it. */
  get state(): Omit<RegistryState, 'apply'> {
    return this.#state;
  }

  /** @returns the id; the same for the same schema, whatever the subject. */
  async register(subject: string, candidate: NewSchema): Promise<number> {
    const type = parseSchema(candidate.schema);
    const schema = candidate.normalize ? canonicalText(candidate.schema) : candidate.schema;
    return await this.#writes.run(async () => {
      const same = this.findSame(subject, schema);
      if (same !== undefined && (candidate.id ?? same.id) === same.id) return same.id;
      const mode = this.#writableMode(subject);
      if (mode === 'IMPORT') this.#refuseTakenId(candidate.id, schema);
      else if (candidate.id !== undefined) {
        throw new MillraceError('OPERATION_NOT_PERMITTED', `Subject ${subject} is not in import mode`);
      } else this.#refuseIncompatible(subject, type);
      const id = candidate.id ?? this.#state.idOf(schema) ?? this.#state.highestId + 1;
      const version = this.#newVersionNumber(subject, mode, candidate.version);
      await this.#commit([
        { type: 'SCHEMA', subject, version, value: { subject, version, id, schema, deleted: false } },
      ]);
      return id;
    });
  }

  /** Returns the version of the subject with this schema. */
  findSame(subject: string, schema: string, filter: VersionFilter = {}): SchemaVersion | undefined {
    const text = canonicalText(schema);
    return this.#state
      .versions(subject, filter)
      .findLast((version) => canonicalText(version.schema) === text);
  }

  /**
   * Returns why a schema is not compatible with a version, or with those that a registration would check
   * (`undefined`: the latest, or all with a transitive level). Empty when it is.
   */
  checkCompatibility(subject: string, schema: string, against: SchemaVersion | undefined): string[] {
    const type = parseSchema(schema);
    return this.#incompatibilities(
      subject,
      type,
      against === undefined ? this.#versionsToCheck(subject) : [against],
    );
  }

  /** Soft: hides all versions, and removes the subject's settings. Permanent: removes hidden versions. */
  async deleteSubject(subject: string, permanent: boolean): Promise<number[]> {
    return await this.#writes.run(async () => {
      this.#writableMode(subject);
      const active = this.#state.versions(subject);
      const all = this.#state.versions(subject, { deleted: true });
      if (all.length === 0) throw new MillraceError('SUBJECT_NOT_FOUND', `Subject '${subject}' not found.`);
      if (permanent && active.length > 0) {
        const message = `Subject '${subject}' was not deleted first before being permanently deleted`;
        throw new MillraceError('SUBJECT_NOT_SOFT_DELETED', message);
      }
      if (!permanent && active.length === 0) {
        const message = `Subject '${subject}' was soft deleted. Set permanent=true to delete permanently`;
        throw new MillraceError('SUBJECT_SOFT_DELETED', message);
      }
      const deleted = permanent ? all : active;
      const changes = permanent ? this.#removals(deleted) : deleted.map(hiding);
      if (this.#state.level(subject) !== undefined) changes.push({ type: 'CONFIG', subject, value: null });
      if (this.#state.mode(subject) !== undefined) changes.push({ type: 'MODE', subject, value: null });
      await this.#commit(changes);
      return deleted.map((version) => version.version);
    });
  }

  async deleteVersion(target: SchemaVersion, permanent: boolean): Promise<void> {
    await this.#writes.run(async () => {
      const { subject, version } = target;
      this.#writableMode(subject);
      const current = this.#state.versions(subject, { deleted: true }).find((one) => one.version === version);
      if (current === undefined)
        throw new MillraceError('VERSION_NOT_FOUND', `Version ${version} not found.`);
      if (permanent && !current.deleted) {
        const message = `Subject '${subject}' Version ${version} was not deleted first before being permanently deleted`;
        throw new MillraceError('VERSION_NOT_SOFT_DELETED', message);
      }
      if (!permanent && current.deleted) {
        const message = `Subject '${subject}' Version ${version} was soft deleted. Set permanent=true to delete permanently`;
        throw new MillraceError('VERSION_SOFT_DELETED', message);
      }
      await this.#commit(permanent ? this.#removals([current]) : [hiding(current)]);
    });
  }

  /** @param subject - `null` for the level of all subjects without one. */
  async setLevel(subject: string | null, level: CompatibilityLevel | null): Promise<void> {
    const value = level === null ? null : { compatibilityLevel: level };
    await this.#writes.run(() => this.#commit([{ type: 'CONFIG', subject, value }]));
  }

  /** IMPORT only while there are no versions, unless forced: it accepts given ids. */
  async setMode(subject: string | null, mode: Mode | null, force: boolean): Promise<void> {
    await this.#writes.run(async () => {
      const present = subject === null ? this.#state.subjects() : this.#state.versions(subject);
      if (mode === 'IMPORT' && present.length > 0 && !force) {
        throw new MillraceError('OPERATION_NOT_PERMITTED', 'Cannot import since found existing subjects');
      }
      await this.#commit([{ type: 'MODE', subject, value: mode === null ? null : { mode } }]);
    });
  }

  async #commit(changes: Change[]): Promise<void> {
    await this.#log.append(changes.map(encodeChange));
    for (const change of changes) this.#state.apply(change);
  }

  #writableMode(subject: string): Mode {
    const mode = this.#state.effectiveMode(subject);
    if (mode === 'READONLY' || mode === 'READONLY_OVERRIDE') {
      throw new MillraceError('OPERATION_NOT_PERMITTED', `Subject ${subject} is in read-only mode`);
    }
    return mode;
  }

  #refuseTakenId(id: number | undefined, schema: string): void {
    const taken = id === undefined ? undefined : this.#state.withId(id)[0];
    if (taken !== undefined && canonicalText(taken.schema) !== canonicalText(schema)) {
      throw new MillraceError(
        'OPERATION_NOT_PERMITTED',
        `Overwrite new schema with id ${id} is not permitted.`,
      );
    }
  }

  #refuseIncompatible(subject: string, type: Type): void {
    const found = this.#incompatibilities(subject, type, this.#versionsToCheck(subject));
    if (found.length === 0) return;
    const level = this.#state.effectiveLevel(subject);
    const message = `Schema being registered is incompatible with an earlier schema for subject "${subject}" (level ${level}): ${found.join('; ')}`;
    throw new MillraceError('INCOMPATIBLE_SCHEMA', message);
  }

  #versionsToCheck(subject: string): SchemaVersion[] {
    const versions = this.#state.versions(subject);
    return this.#state.effectiveLevel(subject).endsWith('_TRANSITIVE') ? versions : versions.slice(-1);
  }

  #incompatibilities(subject: string, type: Type, versions: SchemaVersion[]): string[] {
    const level = this.#state.effectiveLevel(subject);
    return versions.flatMap((version) =>
      incompatibilities(type, parseSchema(version.schema), level).map(
        (why) => `version ${version.version}: ${why}`,
      ),
    );
  }

  #newVersionNumber(subject: string, mode: Mode, given: number | undefined): number {
    if (mode === 'IMPORT' && given !== undefined) return given;
    return (this.#state.versions(subject, { deleted: true }).at(-1)?.version ?? 0) + 1;
  }

  #removals(versions: SchemaVersion[]): Change[] {
    const removals = versions.map(({ subject, version }): Change => ({
      type: 'SCHEMA',
      subject,
      version,
      value: null,
    }));
    return [{ type: 'HIGHEST_ID', value: { id: this.#state.highestId } }, ...removals];
  }
}

function hiding(version: SchemaVersion): Change {
  return {
    type: 'SCHEMA',
    subject: version.subject,
    version: version.version,
    value: { ...version, deleted: true },
  };
}
