// SPDX-License-Identifier: Apache-2.0

// Package conformance drives `lazypull serve-snapshotter` with containerd's own client and suite.
//
// It is built in GOPATH mode from Debian's packages; Tests/Integration/test_conformance.py does it.
package conformance

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/contrib/snapshotservice"
	"github.com/containerd/containerd/snapshots"
	"github.com/containerd/containerd/snapshots/overlay"
	"github.com/containerd/containerd/snapshots/proxy"
	"google.golang.org/grpc"
)

// startLimit is how long a service may take until it answers.
const startLimit = 20 * time.Second

// service is a snapshotter behind a socket, and a client of it.
type service struct {
	snapshots.Snapshotter
	client     snapshotsapi.SnapshotsClient
	connection *grpc.ClientConn
	stop       func() error
}

// startLazypull starts the executable that the variable LAZYPULL names, on a root of its own.
func startLazypull(root string) (*service, error) {
	place, err := os.MkdirTemp("", "socket-")
	if err != nil {
		return nil, err
	}
	socket := filepath.Join(place, "socket")
	command := exec.Command(os.Getenv("LAZYPULL"), "serve-snapshotter",
		"--root", root, "--address", socket,
		"--admin-address", filepath.Join(place, "admin"),
		"--config", "/dev/null", "--log-level", "warning")
	command.Stdout, command.Stderr = os.Stderr, os.Stderr
	// Nothing outlives a driver that is killed.
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := command.Start(); err != nil {
		return nil, err
	}
	stop := func() error {
		defer os.RemoveAll(place)
		if err := command.Process.Signal(syscall.SIGTERM); err != nil {
			return err
		}
		return command.Wait()
	}
	return connect(socket, stop)
}

// startOverlayfs serves containerd's built-in snapshotter from this process.
func startOverlayfs(root string) (*service, error) {
	place, err := os.MkdirTemp("", "socket-")
	if err != nil {
		return nil, err
	}
	snapshotter, err := overlay.NewSnapshotter(root)
	if err != nil {
		return nil, err
	}
	socket := filepath.Join(place, "socket")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return nil, err
	}
	server := grpc.NewServer()
	snapshotsapi.RegisterSnapshotsServer(server, snapshotservice.FromSnapshotter(snapshotter))
	go server.Serve(listener)
	return connect(socket, func() error {
		defer os.RemoveAll(place)
		server.Stop()
		return snapshotter.Close()
	})
}

func connect(socket string, stop func() error) (*service, error) {
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	connection, err := grpc.DialContext(ctx, "unix://"+socket,
		grpc.WithInsecure(), grpc.WithBlock())
	if err != nil {
		stop()
		return nil, fmt.Errorf("nothing answers on %s: %w", socket, err)
	}
	client := snapshotsapi.NewSnapshotsClient(connection)
	return &service{
		Snapshotter: proxy.NewSnapshotter(client, "lazypull"),
		client:      client,
		connection:  connection,
		stop:        stop,
	}, nil
}

// end closes the connection and stops the service.
func (s *service) end() error {
	s.connection.Close()
	return s.stop()
}

// start starts what the variable SNAPSHOTTER names: `overlayfs`, or lazypull.
func start(root string) (*service, error) {
	if os.Getenv("SNAPSHOTTER") == "overlayfs" {
		return startOverlayfs(root)
	}
	return startLazypull(root)
}
