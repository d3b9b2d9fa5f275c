// A Neo4j Community server for the tests, from Maven packages. Works on Node 18.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { toolCache } from './tool-cache.mjs';

const VERSION = '5.26.30';
const PLUGIN = 'org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies';
const POM = join(dirname(fileURLToPath(import.meta.url)), 'neo4j', 'pom.xml');
const CHECKSUMS = join(dirname(POM), 'jars.sha256');

const libFolder = () => join(toolCache(), `neo4j-${VERSION}`, 'lib');

/** The version of the Java on the path, such as 17.0.15+6; null without Java 17 or newer. */
export function javaVersion() {
  const { stderr, status } = spawnSync('java', ['-XshowSettings:properties', '-version'], { encoding: 'utf8' });
  const major = /java\.specification\.version = (\d+)/.exec(stderr ?? '')?.[1];
  if (status !== 0 || major === undefined || Number(major) < 17) return null;
  return /java\.runtime\.version = (\S+)/.exec(stderr)?.[1] ?? major;
}

/** True when the jars of the server are in the cache. */
export const hasNeo4j = () => existsSync(libFolder());

/** The package of the system with the oldest Java that Neo4j runs on. */
export function javaPackage() {
  const names = ['17', '21', '25'].map((version) => `openjdk-${version}-jre-headless`);
  return names.find((name) => spawnSync('apt-cache', ['show', name], { stdio: 'ignore' }).status === 0) ?? names[0];
}

/** Puts the server into the cache, after saying so. A failure is reported; the tests that need the server fail with its reason. */
export function ensureNeo4j() {
  const java = javaVersion();
  if (java === null) return console.error('Neo4j cannot be installed for the tests: Java 17 or newer is missing');
  if (!hasNeo4j()) {
    console.log(`downloading Neo4j Community ${VERSION} (mvn) into ${toolCache()}`);
    const reason = install();
    if (reason !== null) console.error(`Neo4j ${VERSION} could not be installed: ${reason}`);
  }
}

/** Returns null, or why the jars could not be installed. A folder appears whole or not at all: two test runs may install at once. */
function install() {
  mkdirSync(toolCache(), { recursive: true, mode: 0o755 });
  const partial = mkdtempSync(join(toolCache(), 'partial-'));
  try {
    chmodSync(partial, 0o755);
    const lib = join(partial, 'lib');
    const args = ['-B', '-q', '-ntp', '-f', POM, PLUGIN, '-DincludeScope=runtime', `-DoutputDirectory=${lib}`];
    if (spawnSync('mvn', args, { stdio: ['ignore', 'inherit', 'inherit'] }).status !== 0) return 'mvn failed';
    const wrong = wrongJars(lib);
    if (wrong.length > 0) return `the checksums of these files are not the recorded ones: ${wrong.join(', ')}`;
    renameSync(partial, dirname(libFolder()));
    return null;
  } catch (error) {
    // The other run was first.
    if (hasNeo4j()) return null;
    throw error;
  } finally {
    rmSync(partial, { recursive: true, force: true });
  }
}

/** Removes what is only for other systems, opens the rest to the user that runs the servers, and names every jar that is missing, unexpected or changed. */
function wrongJars(lib) {
  for (const name of readdirSync(lib)) {
    if (name.includes('-osx-')) rmSync(join(lib, name));
    else chmodSync(join(lib, name), 0o644);
  }
  const lines = readFileSync(CHECKSUMS, 'utf8').trimEnd().split('\n');
  const recorded = new Map(lines.map((line) => [line.slice(66), line.slice(0, 64)]));
  const found = new Map(readdirSync(lib).map((name) => [name, sha256(join(lib, name))]));
  return [...new Set([...recorded.keys(), ...found.keys()])].filter((name) => recorded.get(name) !== found.get(name));
}
const sha256 = (path) => createHash('sha256').update(readFileSync(path)).digest('hex');
