package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// split returns the arguments of each relay: those of all, then those that differ.
func (f *flags) split(args []string) (relays [][]string, err error) {
	taken := make(map[string]string)
	for i := range f.relays {
		own := append(slices.Clone(args), "-relays", "1", "-state", numbered(f.state, i))
		for _, a := range f.Addresses() {
			addr, err := next(a.Addr, i)
			if err != nil {
				return nil, fmt.Errorf("-%s: %w", a.Flag, err)
			}
			who := fmt.Sprintf("-%s of relay %d", a.Flag, i+1)
			if other := taken[addr]; other != "" {
				return nil, fmt.Errorf("%s and %s are both %s: with %d relays, leave as many ports to each flag",
					other, who, addr, f.relays)
			}
			if !strings.HasSuffix(addr, ":0") { // the system chooses a port
				taken[addr] = who
			}
			own = append(own, "-"+a.Flag, addr)
		}
		if _, err := parseFlags(own); err != nil {
			return nil, err
		}
		relays = append(relays, own)
	}
	return relays, nil
}

// next returns the address of the relay with this number, the first of which is 0.
func next(addr string, number int) (string, error) {
	if strings.HasPrefix(addr, "/") {
		return numbered(addr, number), nil
	}
	host, service, err := net.SplitHostPort(addr)
	if err != nil {
		return "", err
	}
	port, err := net.LookupPort("tcp", service)
	if err != nil {
		return "", err
	}
	if port != 0 {
		port += number
	}
	if port > 65535 {
		return "", fmt.Errorf("relay %d would have port %d", number+1, port)
	}
	return net.JoinHostPort(host, strconv.Itoa(port)), nil
}

// numbered returns the path of the relay with this number: path, path-2, path-3.
func numbered(path string, number int) string {
	if number == 0 {
		return path
	}
	return fmt.Sprintf("%s-%d", path, number+1)
}

// spawn starts a process for each relay, and waits for their ends.
func spawn(ctx context.Context, relays [][]string) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	for i, args := range relays {
		cmd := exec.CommandContext(ctx, program, args...)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
		cmd.WaitDelay = time.Minute
		if err := cmd.Start(); err != nil {
			fmt.Fprintf(os.Stderr, "cluster: relay %d can't be started: %v\n", i+1, err)
			continue
		}
		fmt.Println("relay", i+1, "is process", cmd.Process.Pid)
		wg.Go(func() {
			if err := cmd.Wait(); err != nil && ctx.Err() == nil {
				fmt.Fprintf(os.Stderr, "cluster: relay %d has ended: %v\n", i+1, err)
			}
		})
	}
	wg.Wait()
	if ctx.Err() == nil {
		return errors.New("all relays have ended")
	}
	return nil
}
