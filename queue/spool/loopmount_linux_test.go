package spool_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// fileSystem is one in a file, mounted by a loop device, that can be made to crash. The device keeps what it was
// given, as a disk with a safe cache does.
type fileSystem struct {
	image, dir string
	mounted    bool
}

// newFileSystem makes and mounts one; where that can't be, the test skips or, if it must not, fails.
func newFileSystem(t *testing.T, kind string) *fileSystem {
	missing := t.Skipf
	if os.Getenv("POSTRIDER_INTEROP") == "required" {
		missing = t.Fatalf
	}
	if os.Geteuid() != 0 {
		missing("not root, who alone can mount a file system")
	}
	for _, program := range []string{"mkfs." + kind, "mount"} {
		if _, err := exec.LookPath(program); err != nil {
			missing("%s isn't installed", program)
		}
	}
	tmp := t.TempDir()
	fs := &fileSystem{image: filepath.Join(tmp, "image"), dir: filepath.Join(tmp, "mount")}
	if err := errors.Join(os.WriteFile(fs.image, nil, 0o600), os.Truncate(fs.image, 600<<20), os.Mkdir(fs.dir, 0o700)); err != nil {
		t.Fatal(err)
	}
	if err := run("mkfs."+kind, "-q", fs.image); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if fs.mounted && fs.unmount() != nil {
			t.Errorf("a file is still open; unmounted nonetheless: %v", syscall.Unmount(fs.dir, syscall.MNT_DETACH))
		}
	})
	if err := fs.mount(); err != nil {
		missing("a loop mount of %s doesn't work: %v", kind, err)
	}
	return fs
}

func (fs *fileSystem) mount() error {
	err := run("mount", "-o", "loop", fs.image, fs.dir)
	fs.mounted = err == nil
	return err
}

// unmount also frees the loop device. It fails where a file stays open. That one seems open for a moment may be the
// doing of another test, which has started a program: until that runs, it has all files of this process.
func (fs *fileSystem) unmount() (err error) {
	for range 100 {
		if err = syscall.Unmount(fs.dir, 0); err != syscall.EBUSY {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	fs.mounted = err != nil
	if err != nil {
		return os.NewSyscallError("unmount", err)
	}
	// A mount namespace that somebody else makes at this time has a copy of our mount, and with it the file system as it was:
	// mounted again, it would go on where it crashed.
	for range 1000 {
		if !fs.attached() {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return errors.New("the loop device is in use still, perhaps by another mount namespace")
}

// attached reports whether a loop device has the image.
func (fs *fileSystem) attached() bool {
	files, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	return slices.ContainsFunc(files, func(name string) bool {
		image, err := os.ReadFile(name)
		return err == nil && strings.TrimSpace(string(image)) == fs.image
	})
}

// crash has the file system forget all that isn't in the device, its own log's end included. Nothing works
// from then on, until it has been unmounted and mounted.
func (fs *fileSystem) crash() error {
	const shutdown, noLogFlush = 0x8004587d, 2
	f, err := os.Open(fs.dir)
	if err != nil {
		return err
	}
	defer f.Close()
	flags := uint32(noLogFlush)
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), shutdown, uintptr(unsafe.Pointer(&flags))); errno != 0 {
		return os.NewSyscallError("ioctl", errno)
	}
	return nil
}

func run(program string, args ...string) error {
	if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", program, err, bytes.TrimSpace(out))
	}
	return nil
}
