// Package pgtest starts PostgreSQL servers for tests.
package pgtest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Server is a PostgreSQL server that listens on a Unix socket only.
type Server struct {
	bin, dir string   // of its programs, and of its data and its socket
	settings []string // in addition
	cmd      *exec.Cmd
}

// Need skips the test if Start has returned this error. With POSTRIDER_INTEROP=required, the test fails.
func Need(t testing.TB, err error) {
	t.Helper()
	switch {
	case err == nil:
	case os.Getenv("POSTRIDER_INTEROP") == "required":
		t.Fatal(err)
	default:
		t.Skip(err)
	}
}

// Start makes a cluster and starts it. POSTRIDER_PG_BIN is the directory of the programs; without it, the newest
// version in Debian's directories is taken. The settings are in addition to those of all tests, or in place of them:
// "shared_buffers=512MB" for example.
func Start(settings ...string) (*Server, error) {
	bin := os.Getenv("POSTRIDER_PG_BIN")
	if bin == "" {
		found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
		if len(found) == 0 {
			return nil, fmt.Errorf("PostgreSQL isn't installed: apt-get install postgresql")
		}
		bin = filepath.Dir(found[len(found)-1])
	}
	dir, err := os.MkdirTemp("", "pg")
	if err != nil {
		return nil, err
	}
	s := &Server{bin: bin, dir: dir, settings: settings}
	if err := Give(dir); err != nil {
		return nil, err
	}
	out, err := s.command("initdb", "-D", s.data(), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N").
		CombinedOutput()
	if err != nil {
		s.Remove()
		return nil, fmt.Errorf("initdb: %v: %s", err, out)
	}
	return s, s.Restart()
}

func unprivileged() (uid, gid uint32, err error) {
	for _, name := range []string{"postgres", "nobody"} {
		u, lookup := user.Lookup(name)
		if err = lookup; err != nil {
			continue
		}
		uid, _ := strconv.ParseUint(u.Uid, 10, 32)
		gid, _ := strconv.ParseUint(u.Gid, 10, 32)
		return uint32(uid), uint32(gid), nil
	}
	return 0, 0, err
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// Dir returns the directory of the socket.
func (s *Server) Dir() string { return s.dir }

// Give makes a directory the unprivileged user's as whom the server runs: PostgreSQL refuses to run as root.
func Give(dir string) error {
	if os.Getuid() != 0 {
		return nil
	}
	uid, gid, err := unprivileged()
	if err == nil {
		err = os.Chown(dir, int(uid), int(gid))
	}
	return err
}

// command returns a command that runs a program of PostgreSQL.
func (s *Server) command(name string, args ...string) *exec.Cmd {
	return s.Command(filepath.Join(s.bin, name), args...)
}

// Command returns a command that runs a program as the user of the server.
func (s *Server) Command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir = s.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if os.Getuid() == 0 {
		if uid, gid, err := unprivileged(); err == nil {
			cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uid, Gid: gid}
		}
	}
	return cmd
}

// Program returns a command that runs another program of PostgreSQL as the user of the server.
func (s *Server) Program(name string, args ...string) *exec.Cmd { return s.command(name, args...) }

// Processor returns the time of the processor that the server and its processes have taken, also those that have ended.
func (s *Server) Processor() (total time.Duration) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range stats {
		stat, err := os.ReadFile(name)
		_, rest, ok := strings.Cut(string(stat), ") ") // after the name
		fields := strings.Fields(rest)
		if err != nil || !ok || len(fields) < 15 {
			continue // it has just ended
		}
		postmaster := strconv.Itoa(s.cmd.Process.Pid)
		times := fields[11:13] // user and system; see proc(5)
		switch {
		case name == "/proc/"+postmaster+"/stat":
			times = fields[11:15] // and those of processes that have ended
		case fields[1] != postmaster:
			continue
		}
		for _, ticks := range times {
			n, _ := strconv.Atoi(ticks)
			total += time.Duration(n) * 10 * time.Millisecond
		}
	}
	return total
}

// Restart starts the server, after Kill, and waits until it is ready.
func (s *Server) Restart() error {
	var log bytes.Buffer
	s.cmd = s.command("postgres", "-D", s.data(), "-k", s.dir, "-c", "listen_addresses=", "-c", "max_connections=300",
		"-c", "log_min_messages=fatal", "-c", "shared_buffers=64MB")
	for _, setting := range s.settings { // the last one counts
		s.cmd.Args = append(s.cmd.Args, "-c", setting)
	}
	s.cmd.Stdout, s.cmd.Stderr = &log, &log
	if err := s.cmd.Start(); err != nil {
		return err
	}
	for range 600 {
		if pid, err := os.ReadFile(filepath.Join(s.data(), "postmaster.pid")); err == nil &&
			bytes.HasPrefix(pid, fmt.Appendln(nil, s.cmd.Process.Pid)) && bytes.Contains(pid, []byte("\nready")) {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return fmt.Errorf("the server doesn't answer: %s", log.String())
}

// Kill ends the server and all of its processes at once, as a crash of the machine would.
func (s *Server) Kill() {
	syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
	s.cmd.Wait()
}

// Remove ends the server and removes its data.
func (s *Server) Remove() {
	if s.cmd != nil {
		s.Kill()
	}
	os.RemoveAll(s.dir)
}

// DSN is understood by both drivers.
func (s *Server) DSN() string {
	return "host=" + s.dir + " user=postgres dbname=postgres sslmode=disable"
}
