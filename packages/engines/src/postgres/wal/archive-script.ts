import { Bug } from '@lastgood/core';

/** Where the script and the agent meet, below the spool folder. */
export const STORED_FOLDER = '.stored';
/** The exit status of every refusal. Above 125 PostgreSQL would end its archiver process. */
export const ARCHIVE_REFUSED = 1;

export interface ArchiveScriptOptions {
  readonly spoolFolder: string;
  /** The spool takes nothing more when it holds this much. PostgreSQL keeps its WAL meanwhile. */
  readonly limitBytes: number;
}

const quote = (text: string): string => {
  if (text.includes('\0') || text.includes('\n')) throw new Bug('a path of the archive script holds a line end');
  return `'${text.replaceAll("'", "'\\''")}'`;
};

/**
 * The program of `archive_command`, for `sh` and coreutils. It copies a WAL file into the spool, durably, and never replaces other bytes.
 * It needs no agent: PostgreSQL goes on while the agent is away, until the spool is full. What the agent has stored and removed is known
 * by its SHA-256 for a while, so that the same file is accepted again and another one is not.
 */
export const archiveScript = ({ spoolFolder, limitBytes }: ArchiveScriptOptions): string => `#!/bin/sh
# Copies one WAL file into the spool of Lastgood. archive_command = '<this file> "%p" "%f"'
# Exit status 0: the file is durable. 1: PostgreSQL keeps it and tries again; the reason is in its log.
spool=${quote(spoolFolder)}
limit_kib=${Math.floor(limitBytes / 1024)}
umask 077
path=$1 name=$2
refuse() { echo "lastgood: $name: $1" >&2; exit ${ARCHIVE_REFUSED}; }
case $name in ''|.*|*/*|*[!0-9A-Za-z.]*) refuse 'not the name of a WAL file' ;; esac
final=$spool/$name
marker=$spool/${STORED_FOLDER}/$name

if [ -e "$marker" ]; then
  sum=$(sha256sum < "$path") || refuse 'cannot be read'
  [ "\${sum%% *}" = "$(cat "$marker")" ] && exit 0
  refuse 'was archived before with other content'
fi
if [ -e "$final" ]; then
  cmp -s -- "$path" "$final" || refuse 'is in the spool with other content'
  sync -- "$final" "$spool" || refuse 'cannot be synced'
  exit 0
fi
used_kib=$(du -sk -- "$spool") || refuse 'the spool cannot be read'
[ "\${used_kib%%[!0-9]*}" -lt "$limit_kib" ] || refuse 'the spool is full'
temporary=$spool/.$name.$$
# What an earlier try left when it was killed.
rm -f -- "$spool/.$name."*
if cp -- "$path" "$temporary" && sync -- "$temporary" && ln -- "$temporary" "$final" && sync -- "$spool"; then
  rm -f -- "$temporary"
  exit 0
fi
rm -f -- "$temporary"
refuse 'cannot be copied into the spool'
`;

/** The value of `archive_command` that runs a script. */
export const archiveCommand = (scriptPath: string): string => `${quote(scriptPath).replaceAll('%', '%%')} "%p" "%f"`;
