// SPDX-License-Identifier: Apache-2.0

import Content
import Layers
import Testing

@Suite("Paths in a tree")
struct TreePathTests {
    private let tree: FileTree

    init() throws {
        tree = try LayerText.merged([
            "d d\nd d/e\nf d/e/f x\nl up ..\nl d/abs /d/e\nl d/rel e/../e\nl loop loop\nl gone no\n"
                + "l d/file abs/f"
        ])
    }

    /// The path without links that leads to the same node; nil if there is no node.
    private func real(_ path: String) -> String? {
        tree.node(at: Array(path.utf8)).map { tree.path(of: $0) }
    }

    @Test(arguments: [
        ("/", "/"), ("", "/"), ("/..", "/"), ("/d/", "/d"), ("d//./e", "/d/e"),
        ("/d/abs/f", "/d/e/f"), ("/d/rel/f", "/d/e/f"), ("/up/up/d", "/d"), ("/d/abs/..", "/d"),
        ("/d/file", "/d/e/f"), ("/d/abs", "/d/e"),
    ])
    func linksAreFollowedAsInAChroot(_ path: String, _ expected: String) {
        #expect(real(path) == expected)
    }

    @Test(arguments: ["/no", "/d/e/f/..", "/d/e/f/.", "/loop", "/gone", "/d/file/x"])
    func whatIsNotThereIsNoNode(_ path: String) {
        #expect(real(path) == nil)
    }
}
