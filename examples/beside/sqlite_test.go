package beside

import (
	"database/sql"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	_ "modernc.org/sqlite"
)

// sqliteStore has one goroutine that writes.
type sqliteStore struct {
	db            *sql.DB
	insertMessage *sql.Stmt
	insertTask    *sql.Stmt
	waiting       chan sqliteInsert
	writer        sync.WaitGroup
}

type sqliteInsert struct {
	message
	done chan error
}

// sqliteSchema needs page_size before all else. Nobody else opens the file, so that EXCLUSIVE saves the locks.
const sqliteSchema = `
	PRAGMA page_size = 32768;
	PRAGMA locking_mode = EXCLUSIVE;
	PRAGMA journal_mode = WAL;
	PRAGMA synchronous = FULL;
	PRAGMA cache_size = -65536; -- KiB
	CREATE TABLE IF NOT EXISTS messages (id INTEGER PRIMARY KEY, sender TEXT, recipient TEXT, body BLOB);
	CREATE TABLE IF NOT EXISTS tasks (destination TEXT, due INTEGER, message INTEGER,
		PRIMARY KEY (destination, due, message)) WITHOUT ROWID;`

func openSQLite(dir string, _ int) (store, error) {
	db, err := sql.Open("sqlite", filepath.Join(dir, "messages.db"))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	if _, err := db.Exec(sqliteSchema); err != nil {
		return nil, err
	}
	s := &sqliteStore{db: db, waiting: make(chan sqliteInsert, 100)}
	if s.insertMessage, err = db.Prepare("INSERT INTO messages (sender, recipient, body) VALUES (?, ?, ?)"); err != nil {
		return nil, err
	}
	if s.insertTask, err = db.Prepare("INSERT INTO tasks VALUES (?, ?, last_insert_rowid())"); err != nil {
		return nil, err
	}
	s.writer.Go(s.write)
	return s, nil
}

func (s *sqliteStore) enqueue(m message) error {
	done := make(chan error, 1)
	s.waiting <- sqliteInsert{m, done}
	return <-done
}

// write takes all that waits into one transaction.
func (s *sqliteStore) write() {
	for first := range s.waiting {
		runtime.Gosched() // those that the last transaction served run first, so that what they bring next comes along
		batch := []sqliteInsert{first}
		for range len(s.waiting) {
			batch = append(batch, <-s.waiting)
		}
		err := s.commit(batch)
		for _, in := range batch {
			in.done <- err
		}
	}
}

func (s *sqliteStore) commit(batch []sqliteInsert) error {
	tx, err := s.db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	insertMessage, insertTask := tx.Stmt(s.insertMessage), tx.Stmt(s.insertTask)
	for _, m := range batch {
		if _, err := insertMessage.Exec(m.from, m.to, []byte(m.body)); err != nil {
			return err
		}
		if _, err := insertTask.Exec(m.domain(), time.Now().UnixNano()); err != nil {
			return err
		}
	}
	return tx.Commit()
}

func (s *sqliteStore) messages() (all []message, err error) {
	rows, err := s.db.Query("SELECT sender, recipient, body FROM messages JOIN tasks ON message = id")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var m message
		if err := rows.Scan(&m.from, &m.to, &m.body); err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	return all, rows.Err()
}

func (s *sqliteStore) close() error {
	close(s.waiting)
	s.writer.Wait()
	return s.db.Close()
}
