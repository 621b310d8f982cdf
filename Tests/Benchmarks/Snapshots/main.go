// SPDX-License-Identifier: Apache-2.0

// Times the calls that a pull makes of a snapshotter, and serves containerd's own for comparison.
//
//	snapshots serve SOCKET ROOT
//	snapshots time COUNT BATCH SIDE=SNAPSHOTTER@SOCKET ...
//
// The first serves containerd's overlayfs snapshotter. The second makes COUNT snapshots with each
// side, BATCH at a time in turn, and prints every call's nanoseconds as JSON, by side and method.
// A socket may be containerd's, which asks the snapshotter of that name. The method Nothing does not
// exist: what its refusal takes is what a call costs that does nothing.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/contrib/snapshotservice"
	"github.com/containerd/containerd/namespaces"
	"github.com/containerd/containerd/snapshots"
	"github.com/containerd/containerd/snapshots/overlay"
	"github.com/containerd/containerd/snapshots/proxy"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// chain is how many snapshots are made on each other, as the layers of an image are.
const chain = 10

// nothing is a method that does not exist.
const nothing = "/containerd.services.snapshots.v1.Snapshots/Nothing"

// kept says that containerd is not to collect a snapshot.
var kept = snapshots.WithLabels(map[string]string{"containerd.io/gc.root": "benchmark"})

func serve(socket, root string) error {
	snapshotter, err := overlay.NewSnapshotter(root)
	if err != nil {
		return err
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	snapshotsapi.RegisterSnapshotsServer(server, snapshotservice.FromSnapshotter(snapshotter))
	return server.Serve(listener)
}

// side is a snapshotter, what it has made last, and how long its calls took.
type side struct {
	name        string
	connection  *grpc.ClientConn
	snapshotter snapshots.Snapshotter
	made        int
	parent      string
	times       map[string][]int64
}

func connect(argument string) (*side, error) {
	name, rest, _ := strings.Cut(argument, "=")
	snapshotter, socket, found := strings.Cut(rest, "@")
	if !found {
		return nil, fmt.Errorf("not SIDE=SNAPSHOTTER@SOCKET: %s", argument)
	}
	connection, err := grpc.Dial("unix://"+socket, grpc.WithInsecure(), grpc.WithBlock())
	if err != nil {
		return nil, err
	}
	client := snapshotsapi.NewSnapshotsClient(connection)
	return &side{
		name:        name,
		connection:  connection,
		snapshotter: proxy.NewSnapshotter(client, snapshotter),
		times:       map[string][]int64{},
	}, nil
}

func (s *side) call(method string, body func() error) error {
	begin := time.Now()
	err := body()
	s.times[method] = append(s.times[method], time.Since(begin).Nanoseconds())
	if err != nil {
		return fmt.Errorf("%s: %s: %w", s.name, method, err)
	}
	return nil
}

// nothing calls a method that the snapshots service does not have.
func (s *side) nothing(ctx context.Context, key string) error {
	request, response := &snapshotsapi.MountsRequest{Key: key}, &snapshotsapi.MountsResponse{}
	err := s.connection.Invoke(ctx, nothing, request, response)
	if status.Code(err) == codes.Unimplemented {
		return nil
	}
	return fmt.Errorf("not refused: %w", err)
}

// make makes one more snapshot.
func (s *side) make(ctx context.Context) error {
	key, name := fmt.Sprintf("key-%d", s.made), fmt.Sprintf("name-%d", s.made)
	if s.made%chain == 0 {
		s.parent = ""
	}
	err := s.call("Prepare", func() error {
		_, err := s.snapshotter.Prepare(ctx, key, s.parent, kept)
		return err
	})
	if err != nil {
		return err
	}
	err = s.call("Mounts", func() error {
		_, err := s.snapshotter.Mounts(ctx, key)
		return err
	})
	if err != nil {
		return err
	}
	err = s.call("Stat", func() error {
		_, err := s.snapshotter.Stat(ctx, key)
		return err
	})
	if err != nil {
		return err
	}
	err = s.call("Nothing", func() error { return s.nothing(ctx, key) })
	if err != nil {
		return err
	}
	err = s.call("Commit", func() error { return s.snapshotter.Commit(ctx, name, key, kept) })
	s.made++
	s.parent = name
	return err
}

func measure(count, batch int, arguments []string) error {
	ctx := namespaces.WithNamespace(context.Background(), "benchmark")
	var sides []*side
	for _, argument := range arguments {
		side, err := connect(argument)
		if err != nil {
			return err
		}
		sides = append(sides, side)
	}
	for made := 0; made < count; made += batch {
		for _, side := range sides {
			for side.made < made+batch && side.made < count {
				if err := side.make(ctx); err != nil {
					return err
				}
			}
		}
	}
	result := map[string]map[string][]int64{}
	for _, side := range sides {
		result[side.name] = side.times
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}

func run(arguments []string) error {
	switch {
	case len(arguments) == 3 && arguments[0] == "serve":
		return serve(arguments[1], arguments[2])
	case len(arguments) > 3 && arguments[0] == "time":
		count, err := strconv.Atoi(arguments[1])
		if err != nil {
			return err
		}
		batch, err := strconv.Atoi(arguments[2])
		if err != nil {
			return err
		}
		return measure(count, batch, arguments[3:])
	}
	return fmt.Errorf("usage: snapshots serve|time ...")
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		log.Fatal(err)
	}
}
