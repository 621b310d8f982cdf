// SPDX-License-Identifier: Apache-2.0

/// What is wrong with a DEFLATE stream (RFC 1951).
package enum InflateFault: String, Sendable, CaseIterable {
    case blockType = "block of the type that means nothing"
    case storedLength = "length of a stored block and its complement disagree"
    case codeCount = "more codes for lengths or distances than there are symbols"
    case lengthsOversubscribed = "over-subscribed code for code lengths"
    case lengthsIncomplete = "incomplete code for code lengths"
    case repeatOfNothing = "code lengths begin with a repetition"
    case repeatTooLong = "more code lengths than codes"
    case noEndOfBlock = "no code for the end of the block"
    case literalsOversubscribed = "over-subscribed code for literals and lengths"
    case literalsIncomplete = "incomplete code for literals and lengths"
    case distancesOversubscribed = "over-subscribed code for distances"
    case distancesIncomplete = "incomplete code for distances"
    case literalCode = "bits that are no code for a literal or a length"
    case distanceCode = "bits that are no code for a distance"
    case distanceTooFar = "distance beyond the beginning of the content"
}
