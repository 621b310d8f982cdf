// SPDX-License-Identifier: Apache-2.0

import Linux
import Testing

@Suite("Epoll")
struct EpollTests {
    @Test func aDescriptorIsReportedOnceAndAgainWhenArmed() throws {
        let set = try Epoll()
        let event = try EventFlag()
        let other = try EventFlag()
        try set.add(event.number, token: 1, reporting: .once)
        event.raise()
        #expect(try set.wait() == 1)
        // Reported while the first may not be: what comes is the other.
        try set.add(other.number, token: 2, reporting: .always)
        other.raise()
        #expect(try set.wait() == 2)
        set.remove(other.number)
        try set.rearm(event.number, token: 1)
        #expect(try set.wait() == 1)
    }

    @Test func aDisarmedDescriptorIsNotReportedBeforeItIsArmedAgain() throws {
        let set = try Epoll()
        let event = try EventFlag()
        let other = try EventFlag()
        try set.add(event.number, token: 1, reporting: .once)
        try set.disarm(event.number, token: 1)
        event.raise()
        try set.add(other.number, token: 2, reporting: .always)
        other.raise()
        #expect(try set.wait() == 2)
        #expect(try set.wait() == 2)
        set.remove(other.number)
        try set.rearm(event.number, token: 1)
        #expect(try set.wait() == 1)
    }
}
