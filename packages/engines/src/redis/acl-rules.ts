/**
 * What the ACL user of the agent needs for each task, beside `resetkeys resetchannels -@all`: no command that reads or writes keys. With
 * `replication` it can copy the whole data set, as a replica can.
 */
export const ACL_RULES = {
  /** A snapshot by file: the state of the server, where its files lie, whether a Sentinel watches it, and the save. */
  rdb: ['+info', '+config|get', '+client|list', '+bgsave'],
  /** A snapshot without access to the files. */
  replication: ['+info', '+client|list', '+config|get', '+sync', '+replconf'],
  aof: ['+info', '+config|get', '+client|list'],
  /** A restore also stops the server, unless a service manager does. */
  restore: ['+info', '+config|get', '+client|list', '+bgsave', '+shutdown'],
} as const satisfies Record<string, readonly string[]>;

/** The line of an ACL file for a user with a password. `passwordSha256` is in hexadecimal digits. */
export const aclLine = (user: string, task: keyof typeof ACL_RULES, passwordSha256: string): string =>
  ['user', user, 'on', `#${passwordSha256}`, 'resetkeys', 'resetchannels', '-@all', ...ACL_RULES[task]].join(' ');
