// SPDX-License-Identifier: Apache-2.0

import Content
import Linux
import OCI
import Synchronization

/// Asks the programs that give the kubelet credentials; what they answer is kept as long as they
/// say.
///
/// Threads that want the same wait for one run of the program, and for no other program. Nothing
/// that a program writes gets into a message.
package final class CredentialPlugins: Sendable {
    private let configuration: String
    private let directory: String
    private let programs = Mutex<[CredentialPlugin]?>(nil)

    /// The plugins; nothing is read before a credential is asked for.
    ///
    /// - Parameters:
    ///   - configuration: the path of a CredentialProviderConfig in JSON or YAML.
    ///   - directory: where the programs are.
    package init(configuration: String, directory: String) {
        self.configuration = configuration
        self.directory = directory
    }

    /// The credential for a repository.
    ///
    /// - Parameters:
    ///   - registry: the registry's host and port.
    ///   - repository: the repository.
    /// - Returns: the credential; nil if no provider has one.
    /// - Throws: `ContentError` if the configuration is wrong, or a program fails.
    func find(_ registry: String, _ repository: String) throws(ContentError) -> Credential? {
        let programs = try programs.withLock { (programs) throws(ContentError) in
            if let programs { return programs }
            let read = try read().map { CredentialPlugin($0, in: directory) }
            programs = read
            return read
        }
        for program in programs where program.isAsked(for: "\(registry)/\(repository)") {
            if let found = try program.find(registry, repository) { return found }
        }
        return nil
    }

    private func read() throws(ContentError) -> [CredentialProvider] {
        let bytes = try systemCall { () throws(SystemError) in
            try FileSystem.contents(of: configuration, limit: JSONValue.documentLimit)
        }
        // What begins with a brace is JSON; YAML of this kind begins with a name.
        let isJSON = bytes.first { $0 > 0x20 } == UInt8(ascii: "{")
        let document =
            isJSON
            ? try JSONValue(parsing: bytes, document: configuration)
            : try BlockYAML.value(of: bytes, document: configuration)
        return try CredentialProvider.providers(in: document, configuration)
    }
}
