import { Failure } from '@lastgood/core';
import { bytes, shortInstant } from '@lastgood/core/format';
import type { CommandContext } from '../command-context.ts';
import { jobDocument } from '../documents.ts';
import { resultLines } from '../format/job-lines.ts';
import { safeText } from '../format/safe-text.ts';
import { table } from '../format/table.ts';
import { confirmByName, runJob } from './jobs.ts';
import { fullName, oneTarget, selectorInput } from './resolve.ts';

export async function listSetAside(context: CommandContext, selector: string | undefined): Promise<number> {
  const setAside = await (await context.client()).setAside.query(selectorInput(selector));
  const rows = setAside.map(({ environment, host, target, name, of, sizeBytes, at }) => [
    `${environment}/${host}/${target}`,
    name,
    of ?? '-',
    sizeBytes === null ? '-' : bytes(sizeBytes),
    at === null ? '-' : shortInstant(at),
  ]);
  context.output.answer({ setAside }, () =>
    table(['target', 'name', 'was', 'size', 'since'], rows, 'Nothing is set aside.'),
  );
  return 0;
}

export async function dropSetAside(
  context: CommandContext,
  selector: string,
  name: string,
  options: { confirm?: string },
): Promise<number> {
  const client = await context.client();
  const target = await oneTarget(client, selector);
  const known = await client.setAside.query({ target: fullName(target) });
  if (!known.some((each) => each.name === name))
    throw new Failure('NOT_FOUND', `nothing is set aside as "${name}" on ${fullName(target)}`, {
      remedy: 'List what is set aside with `lastgood set-aside list`.',
    });
  const what = `This drops "${safeText(name)}" on ${fullName(target)}, with all its data; nothing brings it back`;
  await confirmByName(context, options.confirm, name, what);
  const { job, result } = await runJob(context, fullName(target), {
    command: 'drop-set-aside',
    target: target.name,
    name,
  });
  context.output.answer({ job: jobDocument(job) }, () => resultLines(result));
  return 0;
}
