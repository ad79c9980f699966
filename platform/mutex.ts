import { Semaphore } from './semaphore.js';

/** Runs one piece of work at a time, in order of arrival. */
export class Mutex extends Semaphore {
  constructor() {
    super(1);
  }
}
