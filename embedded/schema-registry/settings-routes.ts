import type { Hono } from 'hono';
import { z } from 'zod';
import { MillraceError } from '../../platform/errors.js';
import { compatibilityLevels } from './avro.js';
import { modes } from './log.js';
import type { Registry } from './registry.js';
import { isSet, readJson, subjectOf } from './requests.js';
import { reply } from './responses.js';

const levelBody = z.object({ compatibility: z.string().toUpperCase().pipe(z.enum(compatibilityLevels)) });
const modeBody = z.object({ mode: z.string().toUpperCase().pipe(z.enum(modes)) });

/** Compatibility level and mode: each of all subjects, and of one; 404 means that the subject has none. */
export function addSettingsRoutes(app: Hono, registry: Registry): void {
  const { state } = registry;

  for (const path of ['/config', '/config/:subject']) {
    app.get(path, (c) => {
      const subject = subjectOf(c);
      const orGlobal = subject === null || isSet(c, 'defaultToGlobal');
      const level = orGlobal ? state.effectiveLevel(subject) : state.level(subject);
      if (level === undefined) throw levelNotFound(subject);
      return reply({ compatibilityLevel: level });
    });
    app.put(path, async (c) => {
      const body = levelBody.safeParse(await readJson(c));
      if (!body.success) {
        const message = `Invalid compatibility level. Valid values are ${compatibilityLevels.join(', ')}`;
        throw new MillraceError('INVALID_LEVEL', message);
      }
      await registry.setLevel(subjectOf(c), body.data.compatibility);
      return reply(body.data);
    });
    app.delete(path, async (c) => {
      const subject = subjectOf(c);
      const level = subject === null ? state.effectiveLevel(null) : state.level(subject);
      if (level === undefined) throw levelNotFound(subject);
      await registry.setLevel(subject, null);
      return reply({ compatibilityLevel: level });
    });
  }

  for (const path of ['/mode', '/mode/:subject']) {
    app.get(path, (c) => {
      const subject = subjectOf(c);
      const orGlobal = subject === null || isSet(c, 'defaultToGlobal');
      const mode = orGlobal ? state.effectiveMode(subject) : state.mode(subject);
      if (mode === undefined) throw modeNotFound(subject);
      return reply({ mode });
    });
    app.put(path, async (c) => {
      const body = modeBody.safeParse(await readJson(c));
      if (!body.success) {
        throw new MillraceError('INVALID_MODE', `Invalid mode. Valid values are ${modes.join(', ')}`);
      }
      await registry.setMode(subjectOf(c), body.data.mode, isSet(c, 'force'));
      return reply(body.data);
    });
    app.delete(path, async (c) => {
      const subject = subjectOf(c);
      const mode = subject === null ? state.effectiveMode(null) : state.mode(subject);
      if (mode === undefined) throw modeNotFound(subject);
      await registry.setMode(subject, null, false);
      return reply({ mode });
    });
  }
}

function levelNotFound(subject: string | null): MillraceError {
  const message = `Subject '${subject}' does not have subject-level compatibility configured`;
  return new MillraceError('LEVEL_NOT_FOUND', message);
}

function modeNotFound(subject: string | null): MillraceError {
  return new MillraceError(
    'MODE_NOT_FOUND',
    `Subject '${subject}' does not have subject-level mode configured`,
  );
}
