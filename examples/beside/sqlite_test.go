package beside

import (
	"database/sql"
	"errors"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	_ "modernc.org/sqlite"
)

// sqliteStore has one goroutine that writes and reads. With a second connection for reading it was no faster, because
// locking_mode can't be EXCLUSIVE then.
type sqliteStore struct {
	db            *sql.DB
	insertMessage *sql.Stmt
	insertTask    *sql.Stmt
	selectMessage *sql.Stmt
	deleteMessage *sql.Stmt
	deleteTask    *sql.Stmt
	waiting       chan sqliteRequest
	worker        sync.WaitGroup
	due           list[sqliteTask]
	ended         list[sqliteTask] // the next transaction deletes them
}

type sqliteTask struct {
	destination string
	due         int64
	message     int64
}

type sqliteRequest struct {
	*message
	read int64 // id of the message to read into message; if zero, message is inserted
	done chan error
}

// sqliteSchema must begin with page_size. EXCLUSIVE saves the locks: there is no other connection.
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
	s := &sqliteStore{db: db, waiting: make(chan sqliteRequest, 100)}
	for stmt, query := range map[**sql.Stmt]string{
		&s.insertMessage: "INSERT INTO messages (sender, recipient, body) VALUES (?, ?, ?)",
		&s.insertTask:    "INSERT INTO tasks VALUES (?, ?, ?)",
		&s.selectMessage: "SELECT sender, recipient, body FROM messages WHERE id = ?",
		&s.deleteMessage: "DELETE FROM messages WHERE id = ?",
		&s.deleteTask:    "DELETE FROM tasks WHERE destination = ? AND due = ? AND message = ?",
	} {
		if *stmt, err = db.Prepare(query); err != nil {
			return nil, err
		}
	}
	s.worker.Go(s.work)
	return s, nil
}

func (s *sqliteStore) enqueue(m message) error {
	done := make(chan error, 1)
	s.waiting <- sqliteRequest{&m, 0, done}
	return <-done
}

func (s *sqliteStore) deliver(string) (message, error) {
	t, err := s.due.pop()
	if err != nil {
		return message{}, err
	}
	var m message
	done := make(chan error, 1)
	s.waiting <- sqliteRequest{&m, t.message, done}
	err = <-done
	s.ended.push(t)
	return m, err
}

// work inserts all waiting messages in one transaction.
func (s *sqliteStore) work() {
	for next := range s.waiting {
		var batch []sqliteRequest
		for {
			if next.read > 0 {
				next.done <- s.selectMessage.QueryRow(next.read).Scan(&next.from, &next.to, &next.body)
			} else {
				batch = append(batch, next)
			}
			if len(s.waiting) == 0 {
				runtime.Gosched() // producers that were served run first: their next messages join this transaction
			}
			if len(s.waiting) == 0 {
				break
			}
			next = <-s.waiting
		}
		if len(batch) == 0 {
			continue
		}
		err := s.commit(batch)
		for _, in := range batch {
			in.done <- err
		}
	}
}

func (s *sqliteStore) commit(batch []sqliteRequest) error {
	tx, err := s.db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	due := make([]sqliteTask, len(batch))
	insertMessage, insertTask := tx.Stmt(s.insertMessage), tx.Stmt(s.insertTask)
	for i, m := range batch {
		result, err := insertMessage.Exec(m.from, m.to, []byte(m.body))
		if err != nil {
			return err
		}
		id, err := result.LastInsertId()
		if err != nil {
			return err
		}
		due[i] = sqliteTask{m.domain(), time.Now().UnixNano(), id}
		if _, err := insertTask.Exec(due[i].destination, due[i].due, id); err != nil {
			return err
		}
	}
	deleteMessage, deleteTask := tx.Stmt(s.deleteMessage), tx.Stmt(s.deleteTask)
	for _, t := range s.ended.popAll() { // if the transaction fails, there will be duplicates
		if _, err := deleteMessage.Exec(t.message); err != nil {
			return err
		}
		if _, err := deleteTask.Exec(t.destination, t.due, t.message); err != nil {
			return err
		}
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	s.due.push(due...)
	return nil
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
	s.worker.Wait()
	return errors.Join(s.commit(nil), s.db.Close())
}
