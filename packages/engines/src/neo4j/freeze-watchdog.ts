import { Bug } from '@lastgood/core';
import { captureTool } from '@lastgood/host';
import { identifyProcess, type ProcessIdentity } from './process-identity.ts';

const START_MS = 10_000;

/**
 * Continues a stopped server when the agent is gone, when it is asked to end (SIGTERM), or when the longest pause is over. A shell script,
 * because nothing else is small enough to rely on while the agent is being killed. It compares start times before each signal, so that
 * it never signals a later process with the same id.
 *
 * Arguments: id and start time of the server, id and start time of the agent, hundredths of a second.
 */
const SCRIPT = `
set -u
server=$1 server_start=$2 agent=$3 agent_start=$4 pause=$5
start_of() {
  start=
  read -r stat 2>/dev/null <"/proc/$1/stat" || return 0
  set -- \${stat##*) }
  start=\${20}
}
now() {
  read -r up idle </proc/uptime
  up=\${up%.*}1\${up#*.}
  now=$(( \${up%???} * 100 + \${up#"\${up%???}"} - 100 ))
}
thaw() {
  start_of "$server"
  [ "$start" != "$server_start" ] || kill -CONT "$server"
  exit 0
}
trap thaw TERM INT HUP
now
end=$(( now + pause ))
echo "$$"
exec </dev/null >/dev/null 2>&1
while :; do
  start_of "$agent"
  [ "$start" = "$agent_start" ] || thaw
  now
  [ "$now" -lt "$end" ] || thaw
  sleep 0.05 || sleep 1
done
`;

/**
 * Starts the watchdog in a session of its own, so that it outlives the agent. Resolves when it is watching. It ends by itself after the
 * pause at the latest.
 */
export async function startWatchdog(
  server: ProcessIdentity,
  maxPauseMs: number,
  signal: AbortSignal,
): Promise<ProcessIdentity> {
  const agent = await identifyProcess(process.pid);
  if (agent === null) throw new Bug('the agent is not a process of this host');
  const args = [server.pid, server.startTime, agent.pid, agent.startTime, Math.ceil(maxPauseMs / 10)].map(String);
  const { stdout } = await captureTool(
    // It closes its output when it is watching, which ends this call.
    {
      file: 'setsid',
      args: ['--fork', 'sh', '-c', SCRIPT, 'lastgood-thaw', ...args],
      signal,
      timeoutMs: START_MS,
    },
    4096,
  );
  const watchdog = await identifyProcess(Number(stdout.trim()));
  if (watchdog === null) throw new Bug('the watchdog ended before it was needed');
  return watchdog;
}
