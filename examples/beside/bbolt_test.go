package beside

import (
	"encoding/binary"
	"errors"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"
)

var (
	boltMessages = []byte("messages") // id → envelope and body
	boltDue      = []byte("due")      // due time and id → destination
)

type boltStore struct {
	db    *bolt.DB
	due   list[[]byte] // keys in boltDue; the last 8 octets are the id
	ended list[[]byte] // keys in boltDue that the next transaction deletes
}

func openBolt(dir string, producers int) (store, error) {
	db, err := bolt.Open(filepath.Join(dir, "messages.db"), 0o600, &bolt.Options{
		FreelistType:   bolt.FreelistMapType,
		NoFreelistSync: true, // it is found again when the file is opened: fewer writes, equally durable
		PageSize:       32 << 10,
	})
	if err != nil {
		return nil, err
	}
	db.AllocSize = 64 << 20     // each growth is one more sync
	db.MaxBatchSize = producers // a transaction begins as soon as all producers wait for it
	err = db.Update(func(tx *bolt.Tx) error {
		if _, err := tx.CreateBucketIfNotExists(boltMessages); err != nil {
			return err
		}
		_, err := tx.CreateBucketIfNotExists(boltDue)
		return err
	})
	return &boltStore{db: db}, err
}

func (s *boltStore) enqueue(m message) error {
	value := m.encode()
	var key []byte
	err := s.db.Batch(func(tx *bolt.Tx) error {
		messages, due := tx.Bucket(boltMessages), tx.Bucket(boltDue)
		messages.FillPercent, due.FillPercent = 1, 1 // keys only rise
		n, err := messages.NextSequence()
		if err != nil {
			return err
		}
		id := binary.BigEndian.AppendUint64(nil, n)
		if err := messages.Put(id, value); err != nil {
			return err
		}
		now := binary.BigEndian.AppendUint64(nil, uint64(time.Now().UnixNano()))
		key = append(now, id...)
		if err := due.Put(key, []byte(m.domain())); err != nil {
			return err
		}
		return s.deleteEnded(tx)
	})
	if err != nil {
		return err
	}
	s.due.push(key)
	return nil
}

// deleteEnded deletes the ended messages, once in a transaction. If the transaction fails, there will be duplicates.
func (s *boltStore) deleteEnded(tx *bolt.Tx) error {
	messages, due := tx.Bucket(boltMessages), tx.Bucket(boltDue)
	for _, key := range s.ended.popAll() {
		if err := messages.Delete(key[8:]); err != nil {
			return err
		}
		if err := due.Delete(key); err != nil {
			return err
		}
	}
	return nil
}

func (s *boltStore) deliver(string) (m message, err error) {
	key, err := s.due.pop()
	if err != nil {
		return message{}, err
	}
	err = s.db.View(func(tx *bolt.Tx) error {
		m = decode(tx.Bucket(boltMessages).Get(key[8:]))
		return nil
	})
	s.ended.push(key)
	return m, err
}

func (s *boltStore) messages() (all []message, err error) {
	err = s.db.View(func(tx *bolt.Tx) error {
		return tx.Bucket(boltMessages).ForEach(func(_, value []byte) error {
			all = append(all, decode(value))
			return nil
		})
	})
	return all, err
}

func (s *boltStore) close() error { return errors.Join(s.db.Update(s.deleteEnded), s.db.Close()) }
