import { Failure } from '@lastgood/core';
import type { Command } from 'commander';

const SHELLS = ['bash', 'zsh', 'fish'] as const;

/** What an argument of a command names, by the name of the argument. */
const ARGUMENT_KINDS: ReadonlyMap<string, string> = new Map([
  ['target', 'targets'],
  ['backup', 'backups'],
  ['job', 'jobs'],
]);

interface Completed {
  /** The words that lead to the command, such as `jobs watch`; empty for the program. */
  readonly path: string;
  readonly words: readonly string[];
  /** What its arguments name, as `lastgood complete` lists it. */
  readonly kinds: readonly string[];
}

function completedCommands(command: Command, path = ''): Completed[] {
  const words = [
    ...command.commands.map((child) => child.name()),
    ...command.options.flatMap((option) => (option.long ? [option.long] : [])),
  ];
  const kinds = command.registeredArguments.flatMap((argument) => ARGUMENT_KINDS.get(argument.name()) ?? []);
  return [
    { path, words, kinds },
    ...command.commands.flatMap((child) => completedCommands(child, `${path} ${child.name()}`.trim())),
  ];
}

/** The longest command that the words before the cursor begin with decides; options between them are passed over. */
function bashScript(program: Command): string {
  const cases = completedCommands(program)
    .filter(({ path }) => path !== '')
    .map(({ path, words, kinds }) => `      '${path}') words='${words.join(' ')}'; kinds='${kinds.join(' ')}';;`);
  const [top] = completedCommands(program);
  return `_lastgood() {
  local word="\${COMP_WORDS[COMP_CWORD]}" words='${top?.words.join(' ') ?? ''}' kinds='' path='' each
  for each in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "$each" in -*) continue;; esac
    path="\${path:+$path }$each"
    case "$path" in
${cases.join('\n')}
    esac
  done
  case "$word" in -*) kinds='';; esac
  for each in $kinds; do words="$words $(lastgood complete "$each" 2>/dev/null | tr '\\n' ' ')"; done
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}
complete -F _lastgood lastgood
`;
}

function fishScript(program: Command): string {
  const lines = completedCommands(program).flatMap(({ path, words, kinds }) => {
    const when =
      path === ''
        ? '__fish_use_subcommand'
        : path
            .split(' ')
            .map((word) => `__fish_seen_subcommand_from ${word}`)
            .join('; and ');
    const names = words.filter((word) => !word.startsWith('--'));
    return [
      ...(names.length === 0 ? [] : [`complete -c lastgood -n '${when}' -a '${names.join(' ')}'`]),
      ...words.flatMap((word) =>
        word.startsWith('--') ? [`complete -c lastgood -n '${when}' -l ${word.slice(2)}`] : [],
      ),
      ...kinds.map((kind) => `complete -c lastgood -n '${when}' -a '(lastgood complete ${kind} 2>/dev/null)'`),
    ];
  });
  return `complete -c lastgood -f\n${lines.join('\n')}\n`;
}

/** The completion of commands, options, targets and ids, made from the program itself so that it cannot fall behind. */
export function completionScript(program: Command, shell: string): string {
  switch (shell) {
    case 'bash':
      return bashScript(program);
    case 'zsh':
      return `autoload -U +X bashcompinit && bashcompinit\n${bashScript(program)}`;
    case 'fish':
      return fishScript(program);
    default:
      throw new Failure('BAD_INPUT', `there are completions for ${SHELLS.join(', ')}, not for "${shell}"`);
  }
}
