import { Semaphore } from './semaphore.js';

/** Runs one task at a time, in order of arrival. */
export class Mutex extends Semaphore {
  constructor() {
    super(1);
  }
}
