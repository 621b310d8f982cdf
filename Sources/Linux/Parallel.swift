// SPDX-License-Identifier: Apache-2.0

import Synchronization

/// Does the work for every index on several threads, the lowest indexes first.
///
/// After a failure no further index is begun; what runs is waited for.
///
/// - Parameters:
///   - count: indexes are 0..<count.
///   - threads: how many at once, at least 1; the caller's thread is one of them.
///   - name: the threads' name, for `top -H`.
///   - body: does the work for one index.
/// - Returns: the results, by index.
/// - Throws: the error of the lowest index that failed.
package func inParallel<T: Sendable>(
    _ count: Int,
    threads: Int,
    name: String,
    _ body: @escaping @Sendable (Int) throws -> T
) throws -> [T] {
    let work = ParallelWork(count: count, body)
    let helpers = ThreadGroup()
    // Without a further thread the work still gets done, by those that there are.
    for _ in 1..<max(1, min(threads, count)) { try? helpers.start(name: name) { work.run() } }
    work.run()
    helpers.wait()
    return try work.results()
}

/// Indexes taken one after another by whichever thread is free.
private final class ParallelWork<T: Sendable>: Sendable {
    private let count: Int
    private let body: @Sendable (Int) throws -> T
    private let next = Atomic<Int>(0)
    private let hasFailed = Atomic<Bool>(false)
    private let done = Mutex<[Int: Result<T, any Error>]>([:])

    init(count: Int, _ body: @escaping @Sendable (Int) throws -> T) {
        self.count = count
        self.body = body
    }

    func run() {
        while !hasFailed.load(ordering: .relaxed) {
            let index = next.add(1, ordering: .relaxed).oldValue
            guard index < count else { return }
            let result = Result { try body(index) }
            if case .failure = result { hasFailed.store(true, ordering: .relaxed) }
            done.withLock { $0[index] = result }
        }
    }

    func results() throws -> [T] {
        let results = done.withLock { $0 }
        // Failures first: an index after a failed one may not have been begun.
        for index in 0..<count {
            if case .failure(let error)? = results[index] { throw error }
        }
        return try (0..<count).compactMap { try results[$0]?.get() }
    }
}
