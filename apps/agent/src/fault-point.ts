/**
 * A named moment at which a test can kill this process (LASTGOOD_FAULT=name), to prove that a restart from exactly there ends
 * well. Without the variable it does nothing.
 */
export function faultPoint(name: string): void {
  if (process.env['LASTGOOD_FAULT'] === name) process.kill(process.pid, 'SIGKILL');
}
