import type { Command } from 'commander';

/** A bash completion of commands and options, made from the program itself so that it cannot fall behind. */
export function completionScript(program: Command): string {
  const words = (command: Command): string =>
    [
      ...command.commands.map((child) => child.name()),
      ...command.options.flatMap((option) => (option.long ? [option.long] : [])),
    ].join(' ');
  const cases = program.commands.map(
    (command) => `    ${command.name()}) COMPREPLY=($(compgen -W '${words(command)}' -- "$word"));;`,
  );
  return `_lastgood() {
  local word="\${COMP_WORDS[COMP_CWORD]}"
  case "\${COMP_WORDS[1]}" in
${cases.join('\n')}
    *) COMPREPLY=($(compgen -W '${words(program)}' -- "$word"));;
  esac
}
complete -F _lastgood lastgood
`;
}
