// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";
import {Dues} from "./base/Dues.sol";

/// Pays many small earners: a payer locks the sum of an epoch under the root of who gets what, each takes its
/// share once, and what nobody took by the end goes back.
///
/// A payer's epochs are its own, so nobody can take one before it. A payer that promises more than it locked
/// cheats only those it promised to: each payout has its own money, and earners can see the sum of the leaves.
contract Payouts is Dues {
    error EpochTaken(address payer, uint64 epoch);
    error NoRoot();
    error TimesOutOfBounds(uint64 expiresAt);
    error Expired(uint64 expiresAt);
    error NotExpired(uint64 expiresAt);
    error AlreadyClaimed(uint256 index);
    error ProofWrong(uint256 index);
    error ProofTooLong(uint256 length);
    error MoreThanLeft(uint256 left, uint256 amount);
    error NothingLeft(address payer, uint64 epoch);
    error TooMany(uint256 count, uint256 countMax);

    event Opened(address indexed payer, uint64 indexed epoch, bytes32 root, uint256 amount, uint64 expiresAt);
    event Paid(
        address indexed payer, uint64 indexed epoch, address indexed account, uint256 index, uint256 amount
    );
    event Returned(address indexed payer, uint64 indexed epoch, uint256 amount);

    struct Payout {
        bytes32 root;
        uint96 left;
        uint64 expiresAt;
    }

    struct Share {
        uint256 index;
        address account;
        uint96 amount;
        bytes32[] proof;
    }

    /// Who earns cents looks seldom; who pays must not wait for ever.
    uint64 public constant OPEN_SECONDS_MIN = 7 days;
    uint64 public constant OPEN_SECONDS_MAX = 366 days;
    /// Four thousand million earners.
    uint256 public constant PROOF_LENGTH_MAX = 32;
    /// Each share costs some 60,000 gas: this many stay below half of what a Polygon transaction may spend.
    uint256 public constant SHARES_MAX = 200;

    mapping(address payer => mapping(uint64 epoch => Payout)) public payoutOf;
    mapping(address payer => mapping(uint64 epoch => mapping(uint256 word => uint256 bits))) private _claimed;

    constructor(IERC20 token_) Dues(token_) {}

    /// The leaf of a share. Hashed twice, so that no inner node of a tree passes for a leaf; it names everything
    /// that it is good for, so that a root shown elsewhere pays nothing there.
    function leafOf(address payer, uint64 epoch, uint256 index, address account, uint96 amount)
        public
        view
        returns (bytes32)
    {
        return keccak256(
            bytes.concat(
                keccak256(abi.encode(block.chainid, address(this), payer, epoch, index, account, amount))
            )
        );
    }

    function isClaimed(address payer, uint64 epoch, uint256 index) public view returns (bool) {
        return _claimed[payer][epoch][index >> 8] & (1 << (index & 0xff)) != 0;
    }

    function open(uint64 epoch, bytes32 root, uint96 amount, uint64 expiresAt) external nonReentrant {
        if (root == bytes32(0)) revert NoRoot();
        if (payoutOf[msg.sender][epoch].root != bytes32(0)) revert EpochTaken(msg.sender, epoch);
        (uint256 soonest, uint256 latest) =
            (block.timestamp + OPEN_SECONDS_MIN, block.timestamp + OPEN_SECONDS_MAX);
        if (expiresAt < soonest || expiresAt > latest) revert TimesOutOfBounds(expiresAt);
        payoutOf[msg.sender][epoch] = Payout({root: root, left: amount, expiresAt: expiresAt});
        emit Opened(msg.sender, epoch, root, amount, expiresAt);
        _take(msg.sender, amount);
    }

    /// Pays a share to its account, whoever asks.
    function claim(address payer, uint64 epoch, Share calldata share) external nonReentrant {
        if (isClaimed(payer, epoch, share.index)) revert AlreadyClaimed(share.index);
        _claim(payer, epoch, share);
    }

    /// Pays many. One that was claimed meanwhile is passed over: anyone could otherwise spoil the others.
    function claimMany(address payer, uint64 epoch, Share[] calldata shares) external nonReentrant {
        if (shares.length > SHARES_MAX) revert TooMany(shares.length, SHARES_MAX);
        for (uint256 index = 0; index < shares.length; ++index) {
            if (!isClaimed(payer, epoch, shares[index].index)) _claim(payer, epoch, shares[index]);
        }
    }

    /// Returns to the caller what nobody took. The epoch stays used.
    function reclaim(uint64 epoch) external nonReentrant {
        Payout storage payout = payoutOf[msg.sender][epoch];
        uint96 left = payout.left;
        if (left == 0) revert NothingLeft(msg.sender, epoch);
        if (block.timestamp < payout.expiresAt) revert NotExpired(payout.expiresAt);
        payout.left = 0;
        emit Returned(msg.sender, epoch, left);
        _pay(msg.sender, left);
    }

    function _claim(address payer, uint64 epoch, Share calldata share) private {
        Payout storage payout = payoutOf[payer][epoch];
        if (block.timestamp >= payout.expiresAt) revert Expired(payout.expiresAt);
        if (share.proof.length > PROOF_LENGTH_MAX) revert ProofTooLong(share.proof.length);
        bytes32 leaf = leafOf(payer, epoch, share.index, share.account, share.amount);
        if (!MerkleProof.verifyCalldata(share.proof, payout.root, leaf)) revert ProofWrong(share.index);
        uint96 left = payout.left;
        if (share.amount > left) revert MoreThanLeft(left, share.amount);
        payout.left = left - share.amount;
        _claimed[payer][epoch][share.index >> 8] |= 1 << (share.index & 0xff);
        emit Paid(payer, epoch, share.account, share.index, share.amount);
        _pay(share.account, share.amount);
    }
}
