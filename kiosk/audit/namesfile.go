package audit

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/mattn/go-sqlite3"
)

// namesSchema: nothing in it is evidence, and everything in it can be destroyed.
var namesSchema = []object{
	{"table", "month", "month", "CREATE TABLE month(month TEXT PRIMARY KEY, generation INTEGER NOT NULL) STRICT, WITHOUT ROWID"},
	{"table", "secret", "secret",
		"CREATE TABLE secret(subject BLOB PRIMARY KEY CHECK(length(subject) = 16), month TEXT NOT NULL, " +
			"generation INTEGER NOT NULL, wrapped BLOB NOT NULL) STRICT, WITHOUT ROWID"},
	{"table", "entry", "entry",
		"CREATE TABLE entry(idx INTEGER PRIMARY KEY, subject BLOB NOT NULL CHECK(length(subject) = 16), text BLOB NOT NULL) STRICT"},
	{"table", "item", "item",
		"CREATE TABLE item(subject BLOB NOT NULL CHECK(length(subject) = 16), seq INTEGER NOT NULL, text BLOB NOT NULL, " +
			"PRIMARY KEY(subject, seq)) STRICT, WITHOUT ROWID"},
	{"table", "erasure", "erasure", "CREATE TABLE erasure(id INTEGER PRIMARY KEY, event BLOB NOT NULL) STRICT"},
	{"index", "secret_month", "secret", "CREATE INDEX secret_month ON secret(month, generation)"},
	{"index", "entry_subject", "entry", "CREATE INDEX entry_subject ON entry(subject)"},
}

// mayName is what the side table's connection may do: unlike the log it forgets.
func mayName(op int, table, b, c string) int {
	switch op {
	case sqlite3.SQLITE_INSERT, sqlite3.SQLITE_DELETE, sqlite3.SQLITE_UPDATE:
		if slices.ContainsFunc(namesSchema, func(o object) bool { return o.table == table }) {
			return sqlite3.SQLITE_OK
		}
	case sqlite3.SQLITE_PRAGMA:
		if table == "wal_checkpoint" {
			return sqlite3.SQLITE_OK
		}
	}
	return mayRead(op, table, b, c)
}

// openNames opens the side table of the log in dir, and makes it if there is none.
func openNames(ctx context.Context, dir, keys string) (*names, error) {
	path := filepath.Join(dir, NamesFile)
	if err := makeFile(path); err != nil {
		return nil, err
	}
	db := connections(path, 1, map[string]string{"mode": "rw", "_txlock": "immediate"}, nil)
	defer db.Close()
	empty, err := identifyNames(ctx, db)
	if err != nil {
		return nil, err
	}
	if err := useWAL(ctx, db); err != nil {
		return nil, err
	}
	if empty {
		if err := createNames(ctx, db); err != nil {
			return nil, err
		}
	}
	n := &names{keys: monthKeys(keys), secrets: map[ID]*secret{}, db: connections(path, 1, map[string]string{"mode": "rw", "_txlock": "immediate",
		"_stmt_cache_size": "16"}, mayName)}
	if err := n.sweep(ctx); err != nil {
		n.close()
		return nil, err
	}
	return n, nil
}

func identifyNames(ctx context.Context, q querier) (empty bool, err error) {
	var app, version, objects int
	row := q.QueryRowContext(ctx, "SELECT a.application_id, v.user_version, (SELECT count(*) FROM sqlite_schema) "+
		"FROM pragma_application_id a, pragma_user_version v")
	if err := row.Scan(&app, &version, &objects); err != nil {
		return false, classify(err)
	}
	switch {
	case app == 0 && version == 0 && objects == 0:
		return true, nil
	case app == namesID && version > namesVersion:
		return false, ErrNewer
	case app != namesID || version != namesVersion:
		return false, ErrForeign
	}
	missing, err := compareSchema(ctx, q, namesSchema)
	if err == nil && missing != "" {
		err = lacks(missing)
	}
	if errors.Is(err, ErrBroken) { // it is no chain: what is wrong with it is damage
		err = fmt.Errorf("%w: %v", ErrForeign, err)
	}
	return false, err
}

func createNames(ctx context.Context, db *sql.DB) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return classify(err)
	}
	defer tx.Rollback()
	if empty, err := identifyNames(ctx, tx); err != nil || !empty { // another process was first
		return err
	}
	for _, o := range namesSchema {
		if _, err := tx.ExecContext(ctx, o.sql); err != nil {
			return classify(err)
		}
	}
	if _, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d", namesID, namesVersion)); err != nil {
		return classify(err)
	}
	return classify(tx.Commit())
}

// openNames opens the side table of a log that is open. One that is gone or damaged does not stop the station: it is set aside,
// a new one begins, and the log says so. What it held is lost, as if it had been erased; every proof still holds.
func (l *Log) openNames(ctx context.Context) error {
	path := filepath.Join(l.dir, NamesFile)
	_, err := os.Lstat(path)
	fresh := errors.Is(err, os.ErrNotExist)
	if l.names, err = openNames(ctx, l.dir, l.opts.MonthKeys); errors.Is(err, ErrForeign) {
		if err := setAside(path, l.opts.Now()); err != nil {
			return err
		}
		fresh = true
		l.names, err = openNames(ctx, l.dir, l.opts.MonthKeys)
	}
	if err != nil {
		return err
	}
	if fresh {
		var had bool
		if err := l.Reader.db.QueryRowContext(ctx, "SELECT EXISTS(SELECT 1 FROM fact WHERE word = ?)", namedFact).Scan(&had); err != nil {
			return classify(err)
		}
		if had {
			if _, err := l.Append(ctx, Event{Data: Failed{Cause: "names-lost"}}); err != nil {
				return err
			}
		}
	}
	return l.tellErasures(ctx)
}

// setAside gives a damaged database another name, with the files that belong to it.
func setAside(path string, now time.Time) error {
	for _, suffix := range []string{"-wal", "-shm", ""} { // the database last: until then the next start does this again
		err := os.Rename(path+suffix, path+now.UTC().Format(".lost-20060102T150405Z")+suffix)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return classify(err)
		}
	}
	return nil
}
