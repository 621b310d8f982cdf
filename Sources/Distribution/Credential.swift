// SPDX-License-Identifier: Apache-2.0

/// What proves to a registry who asks; never shown.
package enum Credential: Sendable, Equatable, CustomStringConvertible, CustomDebugStringConvertible
{
    /// A user's name and password.
    case password(user: String, secret: String)
    /// What a token server gives tokens for, instead of a password.
    case identityToken(String)
    /// A token the registry takes as it is.
    case registryToken(String)

    package var description: String {
        switch self {
        case .password(let user, _): "the password of '\(user)'"
        case .identityToken: "an identity token"
        case .registryToken: "a registry token"
        }
    }

    /// The same: a secret is not shown to those who debug, either.
    package var debugDescription: String { description }

    /// The value of an Authorization header, where it can be used as it is.
    var basicAuthorization: String? {
        guard case .password(let user, let secret) = self else { return nil }
        return "Basic \(Base64.encode(Array("\(user):\(secret)".utf8)))"
    }
}
