import { expect, it } from 'vitest';
import { stopAll } from './stop-all.js';

it('stops all in reverse order, even if one throws', async () => {
  const stopped: string[] = [];
  const role = (name: string, fails = false) => ({
    stop: () => {
      stopped.push(name);
      return fails ? Promise.reject(new Error(name)) : Promise.resolve();
    },
  });
  await expect(stopAll([role('engines'), role('sink', true), role('http', true)])).rejects.toThrow('http');
  expect(stopped).toEqual(['http', 'sink', 'engines']);
});
