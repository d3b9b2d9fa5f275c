import { argv } from 'node:process';
import { systemClock } from '@lastgood/host';
import type { PostgresConnection } from '../../src/postgres/connection-schema.ts';
import { receiveWal } from '../../src/postgres/wal/receiver.ts';
import { FolderSink, storedIn } from './folder-sink.ts';

/** A receiver in a process of its own, to be killed. */
const options = JSON.parse(argv[2] ?? '{}') as {
  connection: PostgresConnection;
  slot: string;
  spoolFolder: string;
  sinkFolder: string;
  acknowledge: 'repository' | 'spool';
  systemId: string;
  segmentBytes: number;
};
const outcome = await receiveWal(
  {
    ...options,
    spoolSegments: 8,
    sink: new FolderSink(options.sinkFolder),
    stored: await storedIn(options.sinkFolder, options.segmentBytes, options.systemId),
    afterGap: false,
    clock: systemClock,
    onState: () => undefined,
  },
  new AbortController().signal,
);
process.stdout.write(`${JSON.stringify(outcome.kind === 'refused' ? outcome : outcome.kind)}\n`);
