import { userInfo } from 'node:os';

/**
 * The environment of commands of the agent file: what every login has, and nothing of the agent's own. A server keeps the environment it
 * was started with, and the agent's may hold secrets, its locale and the notification socket of its own unit.
 */
export function cleanEnvironment(): Record<string, string | undefined> {
  const { username, homedir } = userInfo();
  return {
    ...Object.fromEntries(Object.keys(process.env).map((name) => [name, undefined])),
    PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    LANG: 'C.UTF-8',
    HOME: homedir,
    USER: username,
    LOGNAME: username,
  };
}
