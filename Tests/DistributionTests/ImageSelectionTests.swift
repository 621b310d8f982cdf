// SPDX-License-Identifier: Apache-2.0

import Content
import OCI
import Testing

@testable import Distribution

@Suite("Image selection")
struct ImageSelectionTests {
    /// What a single image for the found platform is answered with where another is asked for.
    private func refusal(_ wanted: String?, _ found: Platform) -> String? {
        let selection = ImageSelection(platform: wanted.flatMap { Platform($0) })
        do throws(ContentError) {
            try selection.check(found, place: "image")
            return nil
        } catch {
            return error.message
        }
    }

    @Test func aSingleImageIsTakenIfNothingIsAskedFor() {
        #expect(refusal(nil, Platform(os: "plan9", architecture: "mips")) == nil)
    }

    @Test(arguments: [
        ("linux/arm64", Platform(os: "linux", architecture: "arm64", variant: "v8")),
        ("linux/arm64/v8", Platform(os: "linux", architecture: "arm64")),
        ("linux/arm", Platform(os: "linux", architecture: "arm", variant: "v6")),
        ("linux/arm/v6", Platform(os: "linux", architecture: "arm")),
        ("linux/amd64", Platform(os: "", architecture: "")),
    ])
    func whatFitsOrLeavesItOpenIsTaken(_ wanted: String, _ found: Platform) {
        #expect(refusal(wanted, found) == nil)
    }

    @Test(arguments: [
        ("linux/arm64", Platform(os: "linux", architecture: "amd64")),
        ("linux/amd64", Platform(os: "windows", architecture: "amd64")),
        ("linux/arm/v7", Platform(os: "linux", architecture: "arm", variant: "v6")),
    ])
    func anotherPlatformIsRefusedByName(_ wanted: String, _ found: Platform) {
        #expect(
            refusal(wanted, found)
                == "image: an image for \(found), expected \(wanted): it is the only one there"
        )
    }
}
