package sqlite

// version is of the schema below; user_version has it.
const version = 1

// schema keeps the labels that few records differ in apart, so that a record is one small row in the order of its series and its time:
// it is found by both, and known by its id, without an index. The rollups have what pages sum up, for each 10 s and each 10 minutes, and are
// written in the transaction of their records. The one index serves listings of the slowest: of classes of durations, so that its
// pages fill up one after another, too.
const schema = `
CREATE TABLE series (
  id INTEGER PRIMARY KEY, labels TEXT NOT NULL UNIQUE, -- JSON
  run TEXT NOT NULL, stage TEXT NOT NULL, reporter TEXT NOT NULL, source_namespace TEXT NOT NULL, source TEXT NOT NULL,
  namespace TEXT NOT NULL, service TEXT NOT NULL, workload TEXT NOT NULL, version TEXT NOT NULL, protocol TEXT NOT NULL,
  method TEXT NOT NULL, interface TEXT NOT NULL, code INTEGER NOT NULL, flags TEXT NOT NULL, failed INTEGER NOT NULL
);
CREATE TABLE contexts (id INTEGER PRIMARY KEY, fields TEXT NOT NULL); -- what many records share beside: JSON
CREATE TABLE records (
  series INTEGER NOT NULL, time INTEGER NOT NULL, hash INTEGER NOT NULL, -- ns since 1970; with the hash the record's id
  class INTEGER NOT NULL, duration INTEGER NOT NULL, upstream INTEGER NOT NULL, first_byte INTEGER NOT NULL, -- ns; -1 is not known
  received INTEGER NOT NULL, sent INTEGER NOT NULL, attempts INTEGER NOT NULL, port INTEGER NOT NULL, context INTEGER NOT NULL,
  path TEXT NOT NULL, request_id NOT NULL, trace_id NOT NULL, -- BLOB for UUIDs and W3C trace ids, else TEXT
  PRIMARY KEY (series, time, hash)
) WITHOUT ROWID;
CREATE INDEX by_class ON records (series, class, time, duration);
CREATE TABLE rollups (
  level INTEGER NOT NULL, series INTEGER NOT NULL, start INTEGER NOT NULL, -- s: the length, and the begin since 1970
  records INTEGER NOT NULL, errors INTEGER NOT NULL, received INTEGER NOT NULL, sent INTEGER NOT NULL,
  sum INTEGER NOT NULL, min INTEGER NOT NULL, max INTEGER NOT NULL, histogram BLOB NOT NULL,
  PRIMARY KEY (level, series, start)
) WITHOUT ROWID;
CREATE VIEW requests AS SELECT
  datetime(r.time / 1000000000, 'unixepoch') AS time, s.reporter, s.source, s.namespace, s.service, s.version, s.method, s.interface,
  r.path, s.code, s.flags, r.duration / 1e6 AS duration_ms, s.run, s.stage, r.series, r.time AS nanoseconds, r.hash
FROM records r JOIN series s ON s.id = r.series;
`

const (
	fine   = 10  // s, the shorter level of rollups
	coarse = 600 // s, the longer one
	second = int64(1e9)
)

// classOf is the coarse class of a duration's bucket: 16 for each doubling.
func classOf(bucket int) int { return bucket >> 2 }
