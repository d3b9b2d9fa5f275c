import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Failure, toWireError } from '@lastgood/core';
import { systemClock } from '@lastgood/host';
import { ERROR_CATALOG } from '@lastgood/protocol';
import { pino } from 'pino';
import { startControl } from './control.ts';
import { readNotifyConfig } from './notify/read-notify-config.ts';

const USAGE = `Usage: lastgood control --data FOLDER [--host 127.0.0.1] [--port 7420] [--notify FILE]
                        [--copies FOLDER] [--restore-copy FILE] [--restored] [--new-admin-token]

  --data      the folder that holds everything (made with mode 0700)
  --host      the address to listen on
  --port      the port to listen on; 0 takes a free one
  --notify    the notification file: mail server, channels, dead-man switch
  --new-admin-token  write a new token of an administrator into admin.token, for the one there was is lost
  --copies    where a copy of the catalog is kept for each of the last seven days (default: copies in the data folder; best on another disk)
  --restore-copy  put this copy in the place of the catalog, then start as with --restored; the replaced files are kept
  --restored  the folder was put back from a copy: ask every agent for its word before anything is sent to it
`;

/** The same path from the sources and from the bundle. */
const DASHBOARD = join(import.meta.dirname, '../../web/dist');

interface Given {
  readonly dataDir: string;
  readonly host: string;
  readonly port: number;
  readonly restored: boolean;
  readonly newAdminToken: boolean;
  readonly notifyFile: string | undefined;
  readonly copiesDir?: string;
  readonly restoreCopy?: string;
}

function options(): Given | undefined {
  const { values } = parseArgs({
    options: {
      data: { type: 'string' },
      host: { type: 'string', default: '127.0.0.1' },
      port: { type: 'string', default: '7420' },
      notify: { type: 'string' },
      copies: { type: 'string' },
      'restore-copy': { type: 'string' },
      restored: { type: 'boolean', default: false },
      'new-admin-token': { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return undefined;
  const port = Number(values.port);
  if (values.data === undefined || values.data === '') throw new Failure('BAD_INPUT', '--data FOLDER is missing');
  if (!Number.isInteger(port) || port < 0 || port > 65_535)
    throw new Failure('BAD_INPUT', `--port ${values.port} is not a port number`);
  const { host, restored, 'new-admin-token': newAdminToken, notify: notifyFile } = values;
  const { copies, 'restore-copy': restoreCopy } = values;
  return {
    ...{ dataDir: values.data, host, port, restored, newAdminToken, notifyFile },
    ...(copies === undefined ? {} : { copiesDir: copies }),
    ...(restoreCopy === undefined ? {} : { restoreCopy }),
  };
}

function fail(error: unknown): never {
  const wire =
    error instanceof TypeError && 'code' in error
      ? new Failure('BAD_INPUT', error.message).wireError
      : toWireError(error);
  process.stderr.write(`error ${wire.code}: ${wire.message}\nwhat to do: ${wire.remedy}\n`);
  process.exit(ERROR_CATALOG[wire.code].exit);
}

try {
  const given = options();
  if (given === undefined) process.stdout.write(USAGE);
  else {
    // Written before the call returns: the last words of a process that is killed are the ones that matter.
    const log = pino({ base: null }, pino.destination({ dest: 2, sync: true }));
    // Crash-only: what nobody expected ends the process, and a restart reads the truth from the catalog (J8).
    process.on('uncaughtException', (error) => {
      log.fatal({ error: error.stack }, 'unexpected error');
      process.exit(ERROR_CATALOG.BUG.exit);
    });
    // A signal that comes while it starts ends it when it is up: before, nobody would close what is half open.
    const notify = given.notifyFile === undefined ? undefined : await readNotifyConfig(given.notifyFile);
    const options = {
      ...given,
      dashboardDir: DASHBOARD,
      clock: systemClock,
      log,
      ...(notify === undefined ? {} : { notify }),
    };
    const starting = startControl(options);
    const stop = (): void => void starting.then((control) => control.close()).then(() => process.exit(0), fail);
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, stop);
    await starting;
  }
} catch (error) {
  fail(error);
}
