package audit

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/mattn/go-sqlite3"
)

const (
	schemaVersion = 2
	applicationID = 0x50525451 // "PRTQ", so that another program's database is told apart from a damaged log

	// busyTimeout is how long a writer waits for another process's transaction. Those take milliseconds; a process that
	// holds one for longer is stuck, and then nothing is cleared.
	busyTimeout = 10 * time.Second
	// maxValue bounds what SQLite hands over from one row of a file that may be an attacker's.
	maxValue = 1 << 20
	// maxReaders bounds the connections that read at the same time.
	maxReaders = 4
)

// object is one row of sqlite_schema. The text is compared with what a file says, byte for byte: a table with other
// constraints, or a view in its place, is not our log.
type object struct{ kind, name, table, sql string }

// schema is the whole database, as schemaV1 and what came with version 2. The triggers stop accidents and clumsy hands, not an attacker, who drops them first.
// recursive_triggers, set on each connection, is what makes INSERT OR REPLACE fire the delete triggers
// (https://www.sqlite.org/lang_conflict.html).
var schema = slices.Concat(schemaV1, schemaV2)

var schemaV1 = []object{
	{"table", "entry", "entry",
		"CREATE TABLE entry(idx INTEGER PRIMARY KEY, time TEXT, kind TEXT, leaf BLOB NOT NULL) STRICT"},
	{"table", "hash", "hash",
		"CREATE TABLE hash(idx INTEGER PRIMARY KEY, hash BLOB NOT NULL CHECK(length(hash) = 32)) STRICT"},
	{"table", "checkpoint", "checkpoint",
		"CREATE TABLE checkpoint(size INTEGER PRIMARY KEY, note TEXT NOT NULL) STRICT"},
	{"table", "item", "item",
		"CREATE TABLE item(session BLOB NOT NULL CHECK(length(session) = 16), seq INTEGER NOT NULL, " +
			"volume INTEGER NOT NULL, kind TEXT NOT NULL, name BLOB NOT NULL CHECK(length(name) = 16), " +
			"size INTEGER NOT NULL, sha256 BLOB CHECK(length(sha256) = 32), type TEXT NOT NULL, " +
			"outcome TEXT NOT NULL, findings TEXT NOT NULL, PRIMARY KEY(session, seq)) STRICT, WITHOUT ROWID"},
	{"index", "entry_time", "entry", "CREATE INDEX entry_time ON entry(time)"},
	never("entry", "UPDATE"), never("entry", "DELETE"), dense("entry"),
	never("hash", "UPDATE"), never("hash", "DELETE"), dense("hash"),
	never("checkpoint", "UPDATE"), never("checkpoint", "DELETE"),
	{"trigger", "checkpoint_grows", "checkpoint",
		"CREATE TRIGGER checkpoint_grows BEFORE INSERT ON checkpoint WHEN NEW.size <= " +
			"(SELECT max(size) FROM checkpoint) BEGIN SELECT RAISE(ABORT, 'checkpoints only grow'); END"},
	never("item", "UPDATE"), never("item", "DELETE"),
	{"trigger", "item_dense", "item",
		"CREATE TRIGGER item_dense BEFORE INSERT ON item WHEN NEW.seq IS NOT " +
			"(SELECT coalesce(max(seq) + 1, 0) FROM item WHERE session = NEW.session) " +
			"BEGIN SELECT RAISE(ABORT, 'items have no gaps'); END"},
}

// schemaV2 is what a log of version 1 lacks: the indexes (facts.go) and the signatures of witnesses. A row of prefix has some
// 4,025 bytes and fills one page.
var schemaV2 = []object{
	{"table", "fact", "fact",
		"CREATE TABLE fact(word TEXT NOT NULL, place INTEGER NOT NULL, PRIMARY KEY(word, place)) STRICT, WITHOUT ROWID"},
	{"table", "prefix", "prefix",
		"CREATE TABLE prefix(id INTEGER PRIMARY KEY, session BLOB NOT NULL CHECK(length(session) = 16), " +
			"seq INTEGER NOT NULL, sums BLOB NOT NULL CHECK(length(sums) % 4 = 0)) STRICT"},
	{"table", "cosignature", "cosignature",
		"CREATE TABLE cosignature(size INTEGER NOT NULL, witness TEXT NOT NULL, note TEXT NOT NULL, " +
			"PRIMARY KEY(size, witness)) STRICT, WITHOUT ROWID"},
	{"index", "prefix_session", "prefix", "CREATE UNIQUE INDEX prefix_session ON prefix(session, seq)"},
	never("fact", "UPDATE"), never("fact", "DELETE"),
	never("prefix", "UPDATE"), never("prefix", "DELETE"),
	never("cosignature", "UPDATE"), never("cosignature", "DELETE"),
}

// never refuses an UPDATE or DELETE.
func never(table, verb string) object {
	name := table + "_no_" + map[string]string{"UPDATE": "update", "DELETE": "delete"}[verb]
	return object{"trigger", name, table, "CREATE TRIGGER " + name + " BEFORE " + verb + " ON " + table +
		" BEGIN SELECT RAISE(ABORT, '" + table + " is append-only'); END"}
}

// dense lets idx only count up from 0. In a BEFORE trigger an idx that was left out is -1, which is refused too.
func dense(table string) object {
	return object{"trigger", table + "_dense", table, "CREATE TRIGGER " + table + "_dense BEFORE INSERT ON " + table +
		" WHEN NEW.idx IS NOT (SELECT coalesce(max(idx) + 1, 0) FROM " + table + ")" +
		" BEGIN SELECT RAISE(ABORT, '" + table + " has no gaps'); END"}
}

// connector opens connections to one file. database/sql's registry of drivers is global state that this does without.
type connector struct {
	driver *sqlite3.SQLiteDriver
	dsn    string
}

func (c connector) Connect(context.Context) (driver.Conn, error) { return c.driver.Open(c.dsn) }
func (c connector) Driver() driver.Driver                        { return c.driver }

// connections returns a pool of at most n connections. Each sets on its own what SQLite does not keep in the file; this
// library is built with synchronous=NORMAL as the default for WAL, with which a power cut loses what was acknowledged.
func connections(path string, n int, params map[string]string, rights func(int, string, string, string) int) *sql.DB {
	q := url.Values{}
	for k, v := range map[string]string{
		"_synchronous": "FULL", "_recursive_triggers": "on", "_foreign_keys": "on", "_secure_delete": "on",
		"_busy_timeout": fmt.Sprint(busyTimeout.Milliseconds()),
	} {
		q.Set(k, v)
	}
	for k, v := range params {
		q.Set(k, v)
	}
	hook := func(c *sqlite3.SQLiteConn) error {
		// A schema in a file from elsewhere must not call functions with effects, and pages from it are checked as they
		// are read (https://www.sqlite.org/security.html).
		if _, err := c.Exec("PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON", nil); err != nil {
			return err
		}
		c.SetLimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
		c.SetLimit(sqlite3.SQLITE_LIMIT_LENGTH, maxValue)
		if rights != nil {
			c.RegisterAuthorizer(rights)
		}
		return nil
	}
	dsn := (&url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}).String()
	db := sql.OpenDB(connector{&sqlite3.SQLiteDriver{ConnectHook: hook}, dsn})
	db.SetMaxOpenConns(n)
	db.SetMaxIdleConns(n)
	return db
}

func openWriter(path string) *sql.DB {
	return connections(path, 1, map[string]string{"mode": "rw", "_txlock": "immediate", "_stmt_cache_size": "16"}, mayAppend)
}

// openReader never writes to the database. immutable is for a file that nobody can be writing to.
func openReader(path string, immutable bool) *sql.DB {
	params := map[string]string{"mode": "ro", "_query_only": "on", "_stmt_cache_size": "16"}
	if immutable {
		params["immutable"] = "1"
	}
	return connections(path, maxReaders, params, mayRead)
}

// mayRead is what a reading connection may do, as a list of what is allowed: whatever a future SQLite adds is refused.
func mayRead(op int, name, value, _ string) int {
	switch op {
	case sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_TRANSACTION:
		return sqlite3.SQLITE_OK
	case sqlite3.SQLITE_PRAGMA: // asking only, never setting
		if value == "" && slices.Contains([]string{"application_id", "user_version", "integrity_check"}, name) {
			return sqlite3.SQLITE_OK
		}
	}
	return sqlite3.SQLITE_DENY
}

// mayAppend adds inserting into the tables. No UPDATE, DELETE, DROP, ATTACH or PRAGMA, so not writable_schema either.
func mayAppend(op int, table, b, c string) int {
	if op == sqlite3.SQLITE_INSERT && slices.Contains([]string{"entry", "hash", "checkpoint", "item", "fact", "prefix", "cosignature"}, table) {
		return sqlite3.SQLITE_OK
	}
	return mayRead(op, table, b, c)
}

// create makes the file if there is none, and makes sure that it is a log of this version. One of an older version is
// brought to this one: nothing that its tree or its digests cover is touched.
//
// A crash leaves an empty file, which is a new log to the next start, or an empty WAL database, which is too: schema,
// version and first checkpoint come in one transaction. So does all of an upgrade.
func create(ctx context.Context, path string, opts Options) error {
	if err := makeFile(path); err != nil {
		return err
	}
	db := connections(path, 1, map[string]string{"mode": "rw", "_txlock": "immediate"}, nil)
	defer db.Close()

	version, err := identify(ctx, db)
	if err != nil {
		return err
	}
	if version > 0 {
		missing, err := checkSchema(ctx, db, version)
		if err == nil && missing != "" {
			err = lacks(missing)
		}
		if err != nil {
			return err
		}
	}
	if err := useWAL(ctx, db); err != nil || version == schemaVersion { // a restored backup may have lost the mode
		return err
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return classify(err)
	}
	defer tx.Rollback()
	if version, err = identify(ctx, tx); err != nil || version == schemaVersion { // another process was first
		return err
	}
	missing := schema
	if version > 0 {
		missing = schemaV2
	}
	for _, o := range missing {
		if _, err := tx.ExecContext(ctx, o.sql); err != nil {
			return classify(err)
		}
	}
	pragmas := fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d", applicationID, schemaVersion)
	if _, err := tx.ExecContext(ctx, pragmas); err != nil {
		return classify(err)
	}
	if version == 0 {
		err = addCheckpoint(ctx, tx, opts, Head{Root: emptyRoot})
	} else {
		err = upgrade(ctx, tx)
	}
	if err != nil {
		return err
	}
	return classify(tx.Commit())
}

// makeFile creates an empty file that only its owner may read; SQLite gives the files beside it the same mode. mknod
// does it without opening: closing a descriptor here would drop the locks that this process may hold on the database
// through another connection (https://www.sqlite.org/howtocorrupt.html#posix_close_bug).
func makeFile(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err := syscall.Mknod(path, syscall.S_IFREG|0o600, 0)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return classify(err)
		}
		// Without this a power cut can lose the name of a file whose content is safe.
		dir, err := os.Open(filepath.Dir(path))
		if err != nil {
			return classify(err)
		}
		defer dir.Close()
		return classify(dir.Sync())
	case err != nil:
		return classify(err)
	case !info.Mode().IsRegular():
		return fmt.Errorf("%w: it is no regular file", ErrForeign)
	case info.Mode().Perm()&0o077 != 0: // a restored backup, or a careless umask
		return classify(os.Chmod(path, 0o600))
	}
	return nil
}

// identify says of which version a log is; 0 if there is nothing in the file yet. A file of a newer version, or of another
// program, is not touched.
func identify(ctx context.Context, q querier) (version int, err error) {
	var app, objects int
	row := q.QueryRowContext(ctx, "SELECT a.application_id, v.user_version, (SELECT count(*) FROM sqlite_schema) "+
		"FROM pragma_application_id a, pragma_user_version v")
	if err := row.Scan(&app, &version, &objects); err != nil {
		return 0, classify(err)
	}
	switch {
	case app == 0 && version == 0 && objects == 0:
		return 0, nil
	case app == applicationID && version > schemaVersion:
		return 0, ErrNewer
	case app != applicationID || version < 1 || version > schemaVersion:
		return 0, ErrForeign
	}
	return version, nil
}

// checkSchema compares the whole schema, so that no view, trigger or table of an attacker's is ever run. It returns the
// name of a trigger or index that is missing: without it the records can still be read, and said to be good or bad.
func checkSchema(ctx context.Context, q querier, version int) (missing string, err error) {
	if version == 1 {
		return compareSchema(ctx, q, schemaV1)
	}
	return compareSchema(ctx, q, schema)
}

func compareSchema(ctx context.Context, q querier, want []object) (missing string, err error) {
	rows, err := q.QueryContext(ctx, "SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_schema LIMIT 100")
	if err != nil {
		return "", classify(err)
	}
	defer rows.Close()
	left := slices.Clone(want)
	for rows.Next() {
		var o object
		if err := rows.Scan(&o.kind, &o.name, &o.table, &o.sql); err != nil {
			return "", classify(err)
		}
		i := slices.Index(left, o)
		if i < 0 {
			return "", &Broken{-1, fmt.Sprintf("the database has a %s %q that is not the log's", o.kind, o.name)}
		}
		left = slices.Delete(left, i, i+1)
	}
	if err := rows.Err(); err != nil {
		return "", classify(err)
	}
	for _, o := range left {
		missing = o.kind + " " + o.name
		if o.kind == "table" {
			return "", lacks(missing)
		}
	}
	return missing, nil
}

func lacks(what string) *Broken { return &Broken{-1, "the database lacks its " + what} }

// useWAL switches a file to WAL mode, which it then keeps. Two processes that start together can be in each other's
// way here without SQLite waiting for the lock, so this does.
func useWAL(ctx context.Context, db *sql.DB) error {
	for deadline := time.Now().Add(busyTimeout); ; {
		var mode string
		err := classify(db.QueryRowContext(ctx, "PRAGMA journal_mode = WAL").Scan(&mode))
		switch {
		case err == nil && mode == "wal":
			return nil
		case err == nil:
			return fmt.Errorf("%w: its file system does not let processes share memory (journal mode %q)", ErrUnusable, mode)
		case !errors.Is(err, ErrBusy) || time.Now().After(deadline):
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// openCopy opens a database that nobody may be writing to, perhaps on a read-only medium.
func openCopy(ctx context.Context, path string) (*sql.DB, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrUnusable, err)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%w: it is no regular file", ErrForeign)
	}
	db := openReader(path, false)
	version, err := identify(ctx, db)
	if errors.Is(err, ErrReadOnly) {
		// SQLite needs to put files beside a WAL database. Where it cannot, and there is no WAL to miss, it can do without.
		if wal, werr := os.Stat(path + "-wal"); werr == nil && wal.Size() > 0 {
			db.Close()
			return nil, fmt.Errorf("%w: copy %s and its -wal file to a folder that can be written", err, FileName)
		}
		db.Close()
		db = openReader(path, true)
		version, err = identify(ctx, db)
	}
	if err == nil && version == 0 {
		err = ErrForeign
	}
	if err == nil {
		_, err = checkSchema(ctx, db, version)
	}
	if err != nil {
		db.Close()
		return nil, err
	}
	return db, nil
}

// querier is a database or a transaction.
type querier interface {
	QueryContext(context.Context, string, ...any) (*sql.Rows, error)
	QueryRowContext(context.Context, string, ...any) *sql.Row
}

// classify gives an error from SQLite or the system the sentinel that callers branch on.
func classify(err error) error {
	var se sqlite3.Error
	var errno syscall.Errno
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, ErrUnusable):
		return err
	case errors.As(err, &se):
		errno = se.SystemErrno
	case errors.As(err, &errno):
	default: // such as a column that does not hold what its type says
		return fmt.Errorf("%w (%w)", ErrUnusable, err)
	}
	switch errno {
	case syscall.ENOSPC, syscall.EFBIG, syscall.EDQUOT:
		return fmt.Errorf("%w (%w)", ErrFull, err)
	}
	switch se.Code {
	case sqlite3.ErrFull:
		return fmt.Errorf("%w (%w)", ErrFull, err)
	case sqlite3.ErrBusy, sqlite3.ErrLocked:
		return fmt.Errorf("%w (%w)", ErrBusy, err)
	case sqlite3.ErrCorrupt, sqlite3.ErrNotADB, sqlite3.ErrFormat, sqlite3.ErrTooBig:
		return fmt.Errorf("%w (%w)", ErrForeign, err)
	case sqlite3.ErrReadonly, sqlite3.ErrCantOpen, sqlite3.ErrPerm:
		return fmt.Errorf("%w (%w)", ErrReadOnly, err)
	}
	switch errno {
	case syscall.EROFS, syscall.EACCES, syscall.EPERM, syscall.ENOENT, syscall.ENOTDIR:
		return fmt.Errorf("%w (%w)", ErrReadOnly, err)
	}
	return fmt.Errorf("%w (%w)", ErrUnusable, err)
}
