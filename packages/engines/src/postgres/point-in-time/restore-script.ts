import { Bug } from '@lastgood/core';

/** Names below the private folder of a recovery, shared by the script and the prefetch. */
export const READY = 'ready';
export const HISTORIES = 'histories';
export const PLANNED = 'planned';
export const GIVEN = 'given';
export const ABSENT = 'absent';
export const FAILED = 'failed';
export const WANTED = 'wanted';

const quote = (text: string): string => {
  if (text.includes('\n')) throw new Bug('a path of the restore script holds a line end');
  return `'${text.replaceAll("'", "'\\''")}'`;
};

/**
 * The program of `restore_command`. PostgreSQL takes exit status 1 to 125 for the end of the WAL: it promotes without an error. So 1 is
 * only for what the plan does not read, and everything else that is not a success is 126, which ends the recovery.
 * Files are moved, never linked: the server writes over a linked file when it recycles it.
 */
export const restoreScript = (folder: string): string => `#!/bin/sh
# restore_command = '<this file> "%f" "%p"'
folder=${quote(folder)}
name=$1 to=$2

if [ -e "$folder/${HISTORIES}/$name" ]; then
  cp -- "$folder/${HISTORIES}/$name" "$to" || exit 126
  exit 0
fi
# 0: listed, 1: not listed, 2: the list cannot be read
grep -qxF -- "$name" "$folder/${PLANNED}"
case $? in
  0) ;;
  1) printf '%s\\n' "$name" >> "$folder/${ABSENT}" || exit 126; exit 1 ;;
  *) exit 126 ;;
esac
# A file that was handed over is in pg_wal, where PostgreSQL looks next.
grep -qxF -- "$name" "$folder/${GIVEN}"
case $? in
  0) [ -e "pg_wal/$name" ] && exit 1; exit 126 ;;
  1) ;;
  *) exit 126 ;;
esac
# The first request is for the checkpoint, which may be far ahead of where replay begins.
[ -e "$folder/${READY}/$name" ] || printf '%s\\n' "$name" > "$folder/${WANTED}" || exit 126
while [ ! -e "$folder/${READY}/$name" ]; do
  [ -e "$folder/${FAILED}" ] && exit 126
  # A server that was killed does not end its restore_command.
  kill -0 "$(head -n 1 postmaster.pid)" 2>/dev/null || exit 126
  sleep 0.05 2>/dev/null || sleep 1 || exit 126
done
printf '%s\\n' "$name" >> "$folder/${GIVEN}" || exit 126
mv -- "$folder/${READY}/$name" "$to" || exit 126
exit 0
`;

/** The value of `restore_command` that runs the script. */
export const restoreCommand = (scriptPath: string): string => `${quote(scriptPath).replaceAll('%', '%%')} "%f" "%p"`;
