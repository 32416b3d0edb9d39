// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {IERC3009} from "@openzeppelin/contracts/interfaces/draft-IERC3009.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {Nonces} from "@openzeppelin/contracts/utils/Nonces.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {Consent} from "./base/Consent.sol";
import {ExactToken} from "./base/ExactToken.sol";
import {Vouchers} from "./base/Vouchers.sol";

/// Pays many peers by vouchers: a payer locks money for each payee, signs growing totals off the chain, and the
/// payee claims the newest total when it likes.
///
/// ```text
///   deposit ─► free ─ reserve ─► channel (payer, payee): claimed ≤ ceiling ─ claim ─► the payee's free ─► withdraw
///                ▲                       │ thaw, wait, unreserve; or the payee releases
///                └───────────────────────┘
/// ```
/// What a payee may rely on: until a thaw that it can see has run its time, a voucher up to the ceiling is money.
/// It looks before it serves: where `thawedAt` is not 0, or the signer is being revoked, the time is running already.
/// No signer's revocation, no code the payer puts in its account and nothing a third party sends takes that away.
/// For that a voucher is signed by a plain key, the payer's own or a hot one the payer named; a wallet that is a
/// contract names a hot one. A channel's total never starts anew, so that no voucher counts twice: reserving
/// again after an unreserve goes on from where the claims stopped, and old vouchers above that are still owed.
///
/// Nobody but the payer and its payees can move a payer's money: there is no owner, no pause, no upgrade.
contract PaymentChannels is EIP712, Nonces, ReentrancyGuardTransient {
    using ExactToken for IERC20;

    error ZeroAddress();
    error ZeroAmount();
    error ThawSecondsOutOfBounds(uint64 thawSeconds);
    error FreeTooLow(uint256 free, uint256 wanted);
    error TooMany(uint256 count, uint256 countMax);
    error CeilingTooHigh(uint256 ceiling);
    error NothingReserved(address payer, address payee);
    error AlreadyThawing(uint256 thawedAt);
    error NotThawed(uint256 thawedAt);
    error PackedLengthWrong(uint256 length);
    error NotSignedForPayer(address payer, address recovered);
    error NothingToClaim(uint256 upTo);
    error NoVoucherGood();
    error SignerNotActive(address signer);
    error SignerAlreadyActive(address signer);
    error SignatureExpired(uint256 deadline);

    event Deposited(address indexed account, uint256 amount);
    event Withdrawn(address indexed account, address indexed to, uint256 amount);
    event Reserved(address indexed payer, address indexed payee, uint256 amount);
    event ThawStarted(address indexed payer, address indexed payee, uint256 thawedAt);
    event Unreserved(address indexed payer, address indexed payee, uint256 amount);
    event SignerAuthorized(address indexed payer, address indexed signer);
    event SignerRevoked(address indexed payer, address indexed signer, uint64 goodUntil);
    event Claimed(address indexed payer, address indexed payee, uint256 claimed, uint256 amount);
    /// `accepted` holds 32 bytes for each voucher that was good: the payer, and its claimed total in 12 bytes.
    event BatchClaimed(address indexed payee, uint256 amount, bytes accepted);

    struct Channel {
        /// All that was ever locked for this payee and not taken back.
        uint96 ceiling;
        /// All that this payee ever got, never less than before.
        uint96 claimed;
        /// From when the payer may take the rest back; 0 where it has not asked.
        uint64 thawedAt;
    }

    struct Reservation {
        address payee;
        uint96 amount;
    }

    bytes32 public constant VOUCHER_TYPEHASH = Vouchers.TYPEHASH;
    bytes32 public constant AUTHORIZATION_TYPEHASH =
        keccak256("SignerAuthorization(address payer,address signer,uint256 nonce,uint256 deadline)");

    /// Each reservation costs some 24,000 gas: more than this would not fit a block with room to spare.
    uint256 public constant RESERVATIONS_MAX = 500;
    /// Each voucher costs some 13,000 gas: this many stay below half of what a Polygon transaction may spend.
    uint256 public constant VOUCHERS_MAX = 1000;
    /// A payee that looks once an hour sees every thaw; a payer's money is never away for longer than a month.
    uint64 public constant THAW_SECONDS_MIN = 2 hours;
    uint64 public constant THAW_SECONDS_MAX = 30 days;

    uint64 private constant ACTIVE = type(uint64).max;

    /// The only token this deployment knows.
    IERC20 public immutable token;
    /// How long a payee has to claim after a thaw or a revocation.
    uint64 public immutable thawSeconds;

    /// What an account may withdraw or reserve now.
    mapping(address account => uint256 amount) public freeOf;
    /// Until when vouchers of a signer are good for a payer; 0 is never.
    mapping(address payer => mapping(address signer => uint64 time)) public signerGoodUntil;
    /// By payee first: a batch is one payee's.
    mapping(address payee => mapping(address payer => Vouchers.Word)) private _channels;

    constructor(IERC20 token_, uint64 thawSeconds_) EIP712("Blackhole PaymentChannels", "1") {
        if (address(token_) == address(0)) revert ZeroAddress();
        if (thawSeconds_ < THAW_SECONDS_MIN || thawSeconds_ > THAW_SECONDS_MAX) {
            revert ThawSecondsOutOfBounds(thawSeconds_);
        }
        token = token_;
        thawSeconds = thawSeconds_;
    }

    // ── What is known ──

    function channelOf(address payer, address payee) external view returns (Channel memory) {
        (uint256 ceiling, uint256 claimed, uint256 thawedAt) = _unpack(_channels[payee][payer].value);
        return Channel({ceiling: uint96(ceiling), claimed: uint96(claimed), thawedAt: uint64(thawedAt)});
    }

    /// What a signer of a voucher signs.
    function voucherDigest(address payer, address payee, uint96 cumulative) public view returns (bytes32) {
        return Vouchers.digest(_domainSeparatorV4(), payer, payee, cumulative);
    }

    // ── Money in and out ──

    /// Anyone may add to anyone's free balance.
    function deposit(address account, uint96 amount) external nonReentrant {
        if (account == address(0)) revert ZeroAddress();
        if (amount == 0) revert ZeroAmount();
        token.pull(msg.sender, amount);
        _credit(account, amount);
    }

    /// Deposits the caller's own money by a permit (ERC-2612). The permit itself may fail: someone who saw it on
    /// its way may have handed it in already, and then the allowance is there.
    function depositWithPermit(uint96 amount, uint256 deadline, uint8 v, bytes32 r, bytes32 s)
        external
        nonReentrant
    {
        if (amount == 0) revert ZeroAmount();
        // The guard holds; slither does not know it in transient storage.
        // slither-disable-next-line reentrancy-benign
        try IERC20Permit(address(token)).permit(msg.sender, address(this), amount, deadline, v, r, s) {}
            catch {}
        token.pull(msg.sender, amount);
        _credit(msg.sender, amount);
    }

    /// Deposits by an authorisation (ERC-3009) that anyone may hand in, and reserves it for `payee` where that is
    /// not zero. The authorisation's nonce is `keccak256(abi.encode(payee, salt))`: whom it is for is signed too.
    function depositWithAuthorization(
        address from,
        address payee,
        uint96 amount,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 salt,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external nonReentrant {
        if (amount == 0) revert ZeroAmount();
        bytes32 nonce = keccak256(abi.encode(payee, salt));
        uint256 balanceBefore = token.balanceOf(address(this));
        // slither-disable-next-line reentrancy-benign
        IERC3009(address(token))
            .receiveWithAuthorization(from, address(this), amount, validAfter, validBefore, nonce, v, r, s);
        token.requireGained(balanceBefore, amount);
        _credit(from, amount);
        if (payee != address(0)) {
            freeOf[from] -= amount;
            _reserve(from, payee, amount);
        }
    }

    function withdraw(address to, uint96 amount) external nonReentrant {
        if (amount == 0) revert ZeroAmount();
        _spendFree(msg.sender, amount);
        emit Withdrawn(msg.sender, to, amount);
        token.push(to, amount);
    }

    // ── The payer ──

    /// Locks money for a payee. A thaw that was running ends: the payer wants to go on.
    function reserve(address payee, uint96 amount) external {
        _spendFree(msg.sender, amount);
        _reserve(msg.sender, payee, amount);
    }

    function reserveMany(Reservation[] calldata reservations) external {
        if (reservations.length > RESERVATIONS_MAX) revert TooMany(reservations.length, RESERVATIONS_MAX);
        uint256 total = 0;
        // 500 amounts of 96 bits stay far below 256.
        unchecked {
            for (uint256 index = 0; index < reservations.length; ++index) {
                Reservation calldata reservation = reservations[index];
                uint96 amount = reservation.amount;
                total += amount;
                _reserve(msg.sender, reservation.payee, amount);
            }
        }
        _spendFree(msg.sender, total);
    }

    /// Tells a payee that the payer wants its money back. It goes on being claimable until it is taken.
    function thaw(address payee) external {
        Vouchers.Word storage word = _channels[payee][msg.sender];
        (uint256 ceiling, uint256 claimed, uint256 thawedAt) = _unpack(word.value);
        if (ceiling == claimed) revert NothingReserved(msg.sender, payee);
        if (thawedAt != 0) revert AlreadyThawing(thawedAt);
        thawedAt = block.timestamp + thawSeconds;
        word.value = _pack(ceiling, claimed, thawedAt);
        emit ThawStarted(msg.sender, payee, thawedAt);
    }

    /// Takes back what is left, once the thaw has run its time.
    function unreserve(address payee) external {
        (,, uint256 thawedAt) = _unpack(_channels[payee][msg.sender].value);
        if (thawedAt == 0 || block.timestamp < thawedAt) revert NotThawed(thawedAt);
        _giveBack(msg.sender, payee);
    }

    /// Lets a hot key sign vouchers of the caller. Its holder need not agree: a voucher names its payer, so a key
    /// that signs for several payers binds each to its own vouchers only.
    function authorizeSigner(address signer) external {
        _authorizeSigner(msg.sender, signer);
    }

    /// The same for a payer without gas, or a wallet that is a contract (ERC-1271).
    function authorizeSignerBySignature(
        address payer,
        address signer,
        uint256 deadline,
        bytes calldata signature
    ) external {
        if (block.timestamp > deadline) revert SignatureExpired(deadline);
        bytes32 digest = _hashTypedDataV4(
            keccak256(abi.encode(AUTHORIZATION_TYPEHASH, payer, signer, _useNonce(payer), deadline))
        );
        Consent.requireOf(payer, digest, signature);
        _authorizeSigner(payer, signer);
    }

    /// From now on a key signs nothing new that a payee would take; what it has signed stays good while it thaws.
    function revokeSigner(address signer) external {
        if (signerGoodUntil[msg.sender][signer] != ACTIVE) revert SignerNotActive(signer);
        uint64 goodUntil = uint64(block.timestamp) + thawSeconds;
        signerGoodUntil[msg.sender][signer] = goodUntil;
        emit SignerRevoked(msg.sender, signer, goodUntil);
    }

    // ── The payee ──

    /// Credits the payee with what the voucher says beyond what it got before, at most to the ceiling. Anyone may
    /// hand it in: a watcher claims for a payee that is away.
    function claim(address payer, address payee, uint96 cumulative, bytes32 r, bytes32 vs) external {
        address recovered = Vouchers.recover(voucherDigest(payer, payee, cumulative), r, vs);
        if (!Vouchers.mayPay(signerGoodUntil, payer, recovered)) revert NotSignedForPayer(payer, recovered);
        (uint256 claimed, uint256 amount) = Vouchers.advance(_channels[payee][payer], cumulative);
        if (amount == 0) revert NothingToClaim(claimed);
        freeOf[payee] += amount;
        emit Claimed(payer, payee, claimed, amount);
    }

    /// Claims many vouchers of one payee. One that is not good, or says nothing new, changes nothing and does not
    /// hold up the others: a payer could otherwise spoil the batch it is in. Fails where none is good.
    function claimPacked(address payee, bytes calldata packed) external returns (uint256 amount) {
        if (packed.length % Vouchers.PACKED_BYTES != 0) revert PackedLengthWrong(packed.length);
        uint256 count = packed.length / Vouchers.PACKED_BYTES;
        if (count > VOUCHERS_MAX) revert TooMany(count, VOUCHERS_MAX);
        bytes memory accepted;
        (amount, accepted) =
            Vouchers.advanceAll(_channels[payee], signerGoodUntil, _domainSeparatorV4(), payee, packed);
        if (amount == 0) revert NoVoucherGood();
        freeOf[payee] += amount;
        emit BatchClaimed(payee, amount, accepted);
    }

    /// Gives a payer at once what it has reserved for the caller and the caller has not claimed.
    function release(address payer) external {
        _giveBack(payer, msg.sender);
    }

    // ── Below ──

    function _credit(address account, uint256 amount) private {
        freeOf[account] += amount;
        emit Deposited(account, amount);
    }

    function _spendFree(address account, uint256 amount) private {
        uint256 free = freeOf[account];
        if (amount > free) revert FreeTooLow(free, amount);
        unchecked {
            freeOf[account] = free - amount;
        }
    }

    function _reserve(address payer, address payee, uint96 amount) private {
        if (payee == address(0)) revert ZeroAddress();
        if (amount == 0) revert ZeroAmount();
        Vouchers.Word storage word = _channels[payee][payer];
        (uint256 ceiling, uint256 claimed,) = _unpack(word.value);
        unchecked {
            ceiling += amount;
        }
        if (ceiling > type(uint96).max) revert CeilingTooHigh(ceiling);
        word.value = _pack(ceiling, claimed, 0);
        emit Reserved(payer, payee, amount);
    }

    /// The ceiling falls to what was claimed; the claims themselves are never forgotten.
    function _giveBack(address payer, address payee) private {
        Vouchers.Word storage word = _channels[payee][payer];
        (uint256 ceiling, uint256 claimed,) = _unpack(word.value);
        uint256 rest = ceiling - claimed;
        if (rest == 0) revert NothingReserved(payer, payee);
        word.value = _pack(claimed, claimed, 0);
        freeOf[payer] += rest;
        emit Unreserved(payer, payee, rest);
    }

    function _unpack(uint256 word) private pure returns (uint256 ceiling, uint256 claimed, uint256 thawedAt) {
        return (uint96(word >> 96), uint96(word), word >> 192);
    }

    function _pack(uint256 ceiling, uint256 claimed, uint256 thawedAt) private pure returns (uint256) {
        return thawedAt << 192 | ceiling << 96 | claimed;
    }

    function _authorizeSigner(address payer, address signer) private {
        if (signer == address(0)) revert ZeroAddress();
        if (signerGoodUntil[payer][signer] == ACTIVE) revert SignerAlreadyActive(signer);
        signerGoodUntil[payer][signer] = ACTIVE;
        emit SignerAuthorized(payer, signer);
    }
}
