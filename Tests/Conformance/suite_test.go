// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"testing"

	"github.com/containerd/containerd/snapshots"
	"github.com/containerd/containerd/snapshots/testsuite"
)

// TestSuite is containerd's own suite; each of its cases has a service of its own.
func TestSuite(t *testing.T) {
	testsuite.SnapshotterSuite(t, "lazypull",
		func(ctx context.Context, root string) (snapshots.Snapshotter, func() error, error) {
			service, err := start(root)
			if err != nil {
				return nil, nil, err
			}
			return service, service.end, nil
		})
}
