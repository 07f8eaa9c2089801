package audit

import (
	"context"
	"database/sql"
	"fmt"
	"os"

	"github.com/mattn/go-sqlite3"
)

// Copy writes a whole copy of the log to a file that must not be there yet, while the log is in use. The copy is one moment
// of the log, with the checkpoint that covers it, and holds no private key. A copy that fails is removed.
func (r *Reader) Copy(ctx context.Context, path string) error { return copyDatabase(ctx, r.db, path) }

// CopyNames does the same for the side table, whose keys it leaves behind. What it copies after the log is no older than that.
func (l *Log) CopyNames(ctx context.Context, path string) error {
	if l.names == nil {
		return nil
	}
	return copyDatabase(ctx, l.names.db, path)
}

func copyDatabase(ctx context.Context, from *sql.DB, path string) (err error) {
	if err := makeFile(path); err != nil {
		return fmt.Errorf("copy the log: %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("copy the log: %w", err)
	}
	if info.Size() > 0 {
		return fmt.Errorf("copy the log: %w: %s is there already", ErrUnusable, path)
	}
	defer func() {
		if err != nil {
			os.Remove(path)
		}
	}()
	to, err := sql.Open("sqlite3", "file:"+path+"?mode=rw")
	if err != nil {
		return fmt.Errorf("copy the log: %w", classify(err))
	}
	defer to.Close()
	dst, err := to.Conn(ctx)
	if err != nil {
		return fmt.Errorf("copy the log: %w", classify(err))
	}
	defer dst.Close()
	src, err := from.Conn(ctx)
	if err != nil {
		return fmt.Errorf("copy the log: %w", classify(err))
	}
	defer src.Close()
	if err := dst.Raw(func(d any) error {
		return src.Raw(func(s any) error { return copyPages(ctx, d.(*sqlite3.SQLiteConn), s.(*sqlite3.SQLiteConn)) })
	}); err != nil {
		return fmt.Errorf("copy the log: %w", classify(err))
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("copy the log: %w", err)
	}
	defer f.Close()
	return f.Sync()
}

// copyPages takes all pages in one step, so that no write comes between two of them; a log of a million entries takes
// seconds, in which writers go on into the WAL.
func copyPages(ctx context.Context, dst, src *sqlite3.SQLiteConn) error {
	b, err := dst.Backup("main", src, "main")
	if err != nil {
		return err
	}
	_, err = b.Step(-1)
	if closed := b.Finish(); err == nil {
		err = closed
	}
	if err == nil {
		err = ctx.Err()
	}
	return err
}
