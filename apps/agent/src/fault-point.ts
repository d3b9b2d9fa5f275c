import { Bug } from '@lastgood/core';

/**
 * A named moment at which a test can kill this process (LASTGOOD_FAULT=name) or have it fail with an error that nobody catches
 * (LASTGOOD_FAULT=throw:name), so that tests can restart from exactly there. Without the variable it does nothing.
 */
export function faultPoint(name: string): void {
  const fault = process.env['LASTGOOD_FAULT'];
  if (fault === name) process.kill(process.pid, 'SIGKILL');
  if (fault === `throw:${name}`)
    setImmediate(() => {
      throw new Bug(`thrown at ${name}`);
    });
}
