/** The exit status when the sandbox could not be set up. The reason is on standard error. */
export const SETUP_FAILED = 197;

/**
 * Runs as the first process of new namespaces. Arguments: `root` or `user`, uid, gid, working directory, the number of paths to read
 * and these, the number of folders to write and these, the command.
 *
 * It builds a file system of what the command may see on a tmpfs and makes that the root. Then it stays: it is not of the user of the
 * command, so that the command can neither end nor trace it, and with its end the kernel ends every process of the namespaces.
 *
 * `root`: the command also runs in a chroot, in which the kernel refuses to create user namespaces. `user`: the process has no other user id to
 * give than the agent's; a second user namespace takes its rights on the first, and no third one can be created.
 */
export const SETUP_SCRIPT = `
set -e
trap 'exit ${SETUP_FAILED}' EXIT
umask 022
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
kind=$1 uid=$2 gid=$3 cwd=$4
shift 4
echo 800 >/proc/self/oom_score_adj 2>/dev/null || :
[ "$kind" = root ] || echo 1 >/proc/sys/user/max_user_namespaces 2>/dev/null || :
! command -v ip >/dev/null || ip link set lo up
# Nothing that is shown lies below /sys, which a command does not need.
mount -t tmpfs -o mode=755,size=16m,nosuid,nodev lastgood /sys
cd /sys
mkdir usr etc proc dev tmp run r old
show() {
  if [ -d "$1" ]; then mkdir -p ".$1"; else mkdir -p ".\${1%/*}"; : >".$1"; fi
  mount --rbind "$1" ".$1"
  mount -o remount,bind,nosuid,nodev,"$2" ".$1"
}
for name in bin sbin lib lib32 lib64 libx32; do
  if [ -L "/$name" ]; then ln -s "$(readlink "/$name")" "$name"
  elif [ -d "/$name" ]; then show "/$name" ro; fi
done
show /usr ro
mount -t proc -o nosuid,nodev,noexec proc proc
mount -t tmpfs -o mode=755,size=64k,nosuid tmpfs dev
for name in null zero full random urandom; do : >"dev/$name"; mount --bind "/dev/$name" "dev/$name"; done
ln -s /proc/self/fd dev/fd
ln -s /proc/self/fd/0 dev/stdin
ln -s /proc/self/fd/1 dev/stdout
ln -s /proc/self/fd/2 dev/stderr
mkdir dev/shm
mount -t tmpfs -o mode=1777,size=1g,nosuid,nodev,noexec tmpfs dev/shm
mount -t tmpfs -o mode=1777,size=256m,nosuid,nodev tmpfs tmp
for path in ld.so.cache ld.so.conf ld.so.conf.d localtime timezone locale.conf alternatives; do
  [ ! -e "/etc/$path" ] || cp -RP "/etc/$path" "etc/$path"
done
# The settings of Java are linked from its folder in /usr.
for path in /etc/java*; do [ ! -d "$path" ] || cp -RP "$path" etc/; done
printf 'root:x:0:0::/:/bin/sh\\nscratch:x:%s:%s::/tmp:/bin/sh\\n' "$uid" "$gid" >etc/passwd
printf 'root:x:0:\\nscratch:x:%s:\\n' "$gid" >etc/group
printf 'passwd: files\\ngroup: files\\nhosts: files\\n' >etc/nsswitch.conf
printf '127.0.0.1 localhost %s\\n' "$(uname -n)" >etc/hosts
for mode in ro rw; do
  count=$1
  shift
  while [ "$count" -gt 0 ]; do [ ! -e "$1" ] || show "$1" "$mode"; shift; count=$((count - 1)); done
done
pivot_root . old
cd /
umount -l old
rmdir old
if [ "$kind" = root ]; then
  mount --rbind / /r
  set -- prlimit --core=0 --nproc=8192 chroot /r sh -c 'cd "$1" && umask 077 && shift && exec "$@"' sh "$cwd" \\
    setpriv --reuid "$uid" --regid "$gid" --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all --pdeathsig KILL -- "$@"
else
  cd "$cwd"
  umask 077
  set -- unshare --user --map-user="$uid" --map-group="$gid" -- setpriv --no-new-privs --pdeathsig KILL -- "$@"
fi
set +e
trap - EXIT
"$@"
status=$?
exit "$status"
`;

export interface SandboxView {
  /** The folders that the command can write. Everything else that it sees is read-only. */
  readonly folders: readonly string[];
  /** Programs and libraries outside of /usr that it reads. */
  readonly readable: readonly string[];
  /** Where it starts. */
  readonly cwd: string;
}

const SYSTEM_FOLDERS = ['/usr', '/bin', '/sbin', '/lib', '/lib32', '/lib64', '/libx32'];

/** The paths that are neither below another one nor below a folder of the system, which are shown anyway. */
function outermost(paths: readonly string[]): string[] {
  const isBelow = (path: string, folder: string): boolean => path.startsWith(`${folder}/`);
  const outer = [...SYSTEM_FOLDERS, ...paths];
  return [...new Set(paths)].filter(
    (path) => !SYSTEM_FOLDERS.includes(path) && !outer.some((folder) => isBelow(path, folder)),
  );
}

/** What starts a command in new PID, mount, network, IPC and UTS namespaces that end with it and with this process. */
export function launcherOf(
  kind: 'root' | 'user',
  { uid, gid }: { readonly uid: number; readonly gid: number },
  { folders, readable, cwd }: SandboxView,
): string[] {
  const shown = outermost(readable);
  const namespaces = ['--pid', '--fork', '--kill-child=KILL', '--mount', '--net', '--ipc', '--uts'];
  return [
    'unshare',
    ...(kind === 'user' ? ['--user', '--map-root-user'] : []),
    ...namespaces,
    '--',
    'sh',
    '-c',
    SETUP_SCRIPT,
    'lastgood-sandbox',
    kind,
    String(uid),
    String(gid),
    cwd,
    String(shown.length),
    ...shown,
    String(folders.length),
    ...folders,
  ];
}
