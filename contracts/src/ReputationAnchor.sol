// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";

/// Fixes what a publisher said of its peers' conduct in an epoch, so that it cannot say otherwise later.
///
/// Whose word to believe is the reader's business: everyone anchors under its own address, and nobody can anchor
/// in another's name or before it. An epoch is anchored once, after it ended, and never before an earlier one.
contract ReputationAnchor {
    error EpochSecondsOutOfBounds(uint64 epochSeconds);
    error NoRoot();
    error EpochNotOver(uint64 endsAt);
    error EpochNotNewer(uint64 latest);
    error ProofTooLong(uint256 length);

    event Anchored(address indexed publisher, uint64 indexed epoch, bytes32 root, bytes32 receipts);

    struct Anchor {
        bytes32 root;
        /// Hash of the set of receipts that the scores follow from: who has it can compute them again.
        bytes32 receipts;
        uint64 anchoredAt;
    }

    uint64 public constant EPOCH_SECONDS_MIN = 10 minutes;
    uint64 public constant EPOCH_SECONDS_MAX = 31 days;
    uint256 public constant PROOF_LENGTH_MAX = 32;

    /// Epoch n is the time from n to n + 1 times this, since 1970.
    uint64 public immutable epochSeconds;

    mapping(address publisher => mapping(uint64 epoch => Anchor)) public anchorOf;
    /// The epoch after the newest that a publisher anchored; 0 where there is none.
    mapping(address publisher => uint64 epoch) public nextOf;

    constructor(uint64 epochSeconds_) {
        if (epochSeconds_ < EPOCH_SECONDS_MIN || epochSeconds_ > EPOCH_SECONDS_MAX) {
            revert EpochSecondsOutOfBounds(epochSeconds_);
        }
        epochSeconds = epochSeconds_;
    }

    function anchor(uint64 epoch, bytes32 root, bytes32 receipts) external {
        if (root == bytes32(0)) revert NoRoot();
        if (epoch >= block.timestamp / epochSeconds) {
            revert EpochNotOver(uint64((uint256(epoch) + 1) * epochSeconds));
        }
        if (epoch < nextOf[msg.sender]) revert EpochNotNewer(nextOf[msg.sender]);
        nextOf[msg.sender] = epoch + 1;
        anchorOf[msg.sender][epoch] =
            Anchor({root: root, receipts: receipts, anchoredAt: uint64(block.timestamp)});
        emit Anchored(msg.sender, epoch, root, receipts);
    }

    /// The leaf of one score. Hashed twice, so that no inner node of a tree passes for a leaf.
    function leafOf(address publisher, uint64 epoch, bytes32 peerIdHash, uint32 score)
        public
        view
        returns (bytes32)
    {
        return keccak256(
            bytes.concat(
                keccak256(abi.encode(block.chainid, address(this), publisher, epoch, peerIdHash, score))
            )
        );
    }

    /// Whether a publisher gave a peer this score in that epoch.
    function isProven(
        address publisher,
        uint64 epoch,
        bytes32 peerIdHash,
        uint32 score,
        bytes32[] calldata proof
    ) external view returns (bool) {
        if (proof.length > PROOF_LENGTH_MAX) revert ProofTooLong(proof.length);
        bytes32 root = anchorOf[publisher][epoch].root;
        bytes32 leaf = leafOf(publisher, epoch, peerIdHash, score);
        return root != bytes32(0) && MerkleProof.verifyCalldata(proof, root, leaf);
    }
}
