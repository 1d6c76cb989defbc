package server

import (
	"cmp"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"strings"

	"github.com/postrider/postrider/internal/scram"
)

// defaultIterations is the usual advice for stored passwords with PBKDF2 and SHA-256.
const defaultIterations = 600_000

// maxIterations bounds the iterations of stored credentials: about 3 s of a processor, in which nothing ends PBKDF2.
const maxIterations = 10_000_000

// saltSize is the number of octets of a salt that NewSCRAMCredentials makes.
const saltSize = 16

// SCRAMCredentials are what a server stores of a password for SCRAM-SHA-256 (RFC 5802 §3). Without the password, they
// don't let anybody log in; but who has them can guess passwords as fast as hardware allows. Package fmt and log/slog
// don't print them, except in an unexported field of another struct.
type SCRAMCredentials struct {
	// Salt is random for each password. It must not be empty, and should have 16 octets: see Server.SCRAMSecret.
	Salt []byte

	// Iterations are the iterations of PBKDF2, 4096 (RFC 7677 §4) to 10,000,000: about 3 s of a processor.
	Iterations int

	// StoredKey and ServerKey have 32 octets each.
	StoredKey, ServerKey []byte
}

// NewSCRAMCredentials makes credentials of a password, with a random salt. The client computes all iterations at each
// login; the server doesn't. If iterations is 0, 600,000: about 0.2 s of a client's processor. An error says that
// iterations is less than 4096 or more than 10,000,000, or that SASLprep (RFC 4013) prohibits a
// character of the password; it doesn't contain the password.
func NewSCRAMCredentials(password string, iterations int) (*SCRAMCredentials, error) {
	c := &SCRAMCredentials{Salt: make([]byte, saltSize), Iterations: cmp.Or(iterations, defaultIterations)}
	if c.Iterations < scram.MinIterations || c.Iterations > maxIterations {
		return nil, fmt.Errorf("server: NewSCRAMCredentials: iterations is %d: set it to %d to %d,"+
			" or to 0 for the default", iterations, scram.MinIterations, maxIterations)
	}
	rand.Read(c.Salt)
	keys, err := c.derive(password)
	if err != nil {
		return nil, fmt.Errorf("server: NewSCRAMCredentials: password: %w", err)
	}
	c.StoredKey, c.ServerKey = keys.Stored, keys.Server
	return c, nil
}

// Verify reports whether the password is that of c. It computes all iterations. A [Server.Authenticate] can call it, so
// that PLAIN and LOGIN work with the same stored credentials.
func (c *SCRAMCredentials) Verify(password string) bool {
	if c == nil || c.check() != nil {
		return false
	}
	keys, err := c.derive(password)
	return err == nil && hmac.Equal(keys.Stored, c.StoredKey)
}

func (c *SCRAMCredentials) derive(password string) (scram.Keys, error) {
	password, err := scram.Prepare(password)
	if err != nil {
		return scram.Keys{}, err
	}
	return scram.Derive(password, c.Salt, c.Iterations)
}

// Format prints nothing of c, with every verb.
func (c SCRAMCredentials) Format(f fmt.State, _ rune) { fmt.Fprint(f, "SCRAM credentials") }

// check returns an error for credentials that can't be used.
func (c *SCRAMCredentials) check() error {
	if len(c.Salt) == 0 || c.Iterations < scram.MinIterations || c.Iterations > maxIterations ||
		len(c.StoredKey) != sha256.Size || len(c.ServerKey) != sha256.Size {
		return fmt.Errorf("the stored credentials have a salt of %d octets, %d iterations, and keys of %d and %d"+
			" octets, want a salt, %d to %d iterations, and %d octets", len(c.Salt), c.Iterations,
			len(c.StoredKey), len(c.ServerKey), scram.MinIterations, maxIterations, sha256.Size)
	}
	return nil
}

// madeUp returns credentials for a user that doesn't exist: the same ones at each call.
func (s *Server) madeUp(username string) *SCRAMCredentials {
	s.secretOnce.Do(func() {
		if s.secret = s.SCRAMSecret; len(s.secret) == 0 {
			s.secret = []byte(rand.Text())
		}
	})
	username = strings.ToLower(username) // as most directories do
	return &SCRAMCredentials{
		Salt:       scram.MAC(s.secret, "salt "+username)[:saltSize],
		Iterations: max(cmp.Or(s.SCRAMIterations, defaultIterations), scram.MinIterations),
		StoredKey:  scram.MAC(s.secret, "stored key "+username),
		ServerKey:  scram.MAC(s.secret, "server key "+username),
	}
}
