// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {Consent} from "./base/Consent.sol";
import {Dues} from "./base/Dues.sol";

/// Holds the price of one job from the moment it is agreed to the moment its result is.
///
/// ```text
///            deliver                accept, or silence until the review ends ─► all to the provider
///   Open ──────────► Delivered ──►
///    │                  │           dispute ─► Disputed ─► the arbiter rules, or on its silence the agreed split
///    │                  │
///    └ refund after the deadline, decline by the provider ─► all to the client
///   at any time: settle, a split that both sign
/// ```
/// Every state ends by itself: each has a deadline after which anyone may close the job, so that money is never
/// stuck on a party that went away. What a client accepts is the result it names, never another that was
/// delivered meanwhile. A job's name hashes its whole terms, and is used once: a signature over the name is over
/// the terms, and works on no other job, contract or chain.
contract PaymentManager is Dues, EIP712 {
    error NameTaken(bytes32 job);
    error PartiesNotDistinct();
    error TimesOutOfBounds();
    error SplitOutOfBounds(uint256 asked, uint256 most);
    error WrongState(bytes32 job, State state);
    error NotParty(bytes32 job, address caller);
    error TooLate(uint256 deadline);
    error TooEarly(uint256 deadline);
    error NoResult();
    error ResultDiffers(bytes32 delivered, bytes32 named);

    event Created(
        bytes32 indexed job, address indexed client, address indexed provider, Terms terms, bytes32 salt
    );
    event Delivered(bytes32 indexed job, bytes32 result, uint64 reviewUntil);
    event Disputed(bytes32 indexed job, bytes32 evidence, uint64 ruleUntil);
    event Closed(bytes32 indexed job, Ending ending, uint256 toProvider, uint256 toClient);

    enum State {
        None,
        Open,
        Delivered,
        Disputed,
        Closed
    }

    enum Ending {
        Accepted,
        Silence,
        Refunded,
        Declined,
        Ruled,
        ArbiterSilent,
        Settled
    }

    /// What both sides know before money is locked.
    struct Terms {
        address provider;
        uint96 amount;
        address arbiter;
        uint64 deliverBy;
        uint32 reviewSeconds;
        uint32 ruleSeconds;
        /// What the provider gets where the arbiter says nothing, in ten thousandths.
        uint16 silenceShare;
        /// Hash of what is to be done.
        bytes32 specification;
    }

    struct Job {
        address client;
        /// Of the state the job is in: to deliver, to review, to rule.
        uint48 deadline;
        State state;
        uint16 silenceShare;
        // The second slot.
        address provider;
        uint96 amount;
        // The third.
        address arbiter;
        uint32 reviewSeconds;
        uint32 ruleSeconds;
        bytes32 result;
    }

    bytes32 public constant ACCEPTANCE_TYPEHASH =
        keccak256("Acceptance(bytes32 job,bytes32 result,uint256 deadline)");
    bytes32 public constant SETTLEMENT_TYPEHASH =
        keccak256("Settlement(bytes32 job,uint256 toProvider,uint256 deadline)");

    uint256 public constant WHOLE = 10_000;
    /// A job that takes longer is several jobs.
    uint64 public constant DELIVER_SECONDS_MAX = 366 days;
    /// A party needs time to look, and the other one must not wait for ever.
    uint32 public constant REVIEW_SECONDS_MIN = 10 minutes;
    uint32 public constant REVIEW_SECONDS_MAX = 60 days;
    uint32 public constant RULE_SECONDS_MIN = 1 days;
    uint32 public constant RULE_SECONDS_MAX = 60 days;

    mapping(bytes32 name => Job) private _jobs;

    constructor(IERC20 token_) Dues(token_) EIP712("Blackhole PaymentManager", "1") {}

    // ── What is known ──

    function jobOf(bytes32 name) external view returns (Job memory) {
        return _jobs[name];
    }

    /// A client's names are its own: nobody can take one before it.
    function nameOf(address client, Terms calldata terms, bytes32 salt) public pure returns (bytes32) {
        return keccak256(abi.encode(client, terms, salt));
    }

    function acceptanceDigest(bytes32 name, bytes32 result, uint256 deadline) public view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(ACCEPTANCE_TYPEHASH, name, result, deadline)));
    }

    function settlementDigest(bytes32 name, uint256 toProvider, uint256 deadline)
        public
        view
        returns (bytes32)
    {
        return _hashTypedDataV4(keccak256(abi.encode(SETTLEMENT_TYPEHASH, name, toProvider, deadline)));
    }

    // ── The client ──

    function create(Terms calldata terms, bytes32 salt) external nonReentrant returns (bytes32 name) {
        _requireSound(terms);
        name = nameOf(msg.sender, terms, salt);
        if (_jobs[name].state != State.None) revert NameTaken(name);
        _jobs[name] = Job({
            client: msg.sender,
            deadline: uint48(terms.deliverBy),
            state: State.Open,
            silenceShare: terms.silenceShare,
            provider: terms.provider,
            amount: terms.amount,
            arbiter: terms.arbiter,
            reviewSeconds: terms.reviewSeconds,
            ruleSeconds: terms.ruleSeconds,
            result: bytes32(0)
        });
        emit Created(name, msg.sender, terms.provider, terms, salt);
        _take(msg.sender, terms.amount);
    }

    /// Pays the provider for this result. In a dispute too: a client may change its mind.
    function accept(bytes32 name, bytes32 result) external nonReentrant {
        if (msg.sender != _jobs[name].client) revert NotParty(name, msg.sender);
        _accept(name, result);
    }

    /// The same by the client's signature, which anyone may hand in.
    function acceptBySignature(bytes32 name, bytes32 result, uint256 deadline, bytes calldata signature)
        external
        nonReentrant
    {
        if (block.timestamp > deadline) revert TooLate(deadline);
        Consent.requireOf(_jobs[name].client, acceptanceDigest(name, result, deadline), signature);
        _accept(name, result);
    }

    function dispute(bytes32 name, bytes32 evidence) external {
        Job storage job = _jobs[name];
        if (msg.sender != job.client) revert NotParty(name, msg.sender);
        if (job.state != State.Delivered) revert WrongState(name, job.state);
        if (block.timestamp > job.deadline) revert TooLate(job.deadline);
        uint48 ruleUntil = uint48(block.timestamp) + job.ruleSeconds;
        (job.state, job.deadline) = (State.Disputed, ruleUntil);
        emit Disputed(name, evidence, ruleUntil);
    }

    // ── The provider ──

    /// Once: a result that is being looked at is not replaced.
    function deliver(bytes32 name, bytes32 result) external {
        Job storage job = _jobs[name];
        if (msg.sender != job.provider) revert NotParty(name, msg.sender);
        if (job.state != State.Open) revert WrongState(name, job.state);
        if (block.timestamp > job.deadline) revert TooLate(job.deadline);
        if (result == bytes32(0)) revert NoResult();
        uint48 reviewUntil = uint48(block.timestamp) + job.reviewSeconds;
        (job.state, job.deadline, job.result) = (State.Delivered, reviewUntil, result);
        emit Delivered(name, result, reviewUntil);
    }

    /// Gives all back.
    function decline(bytes32 name) external nonReentrant {
        Job storage job = _jobs[name];
        if (msg.sender != job.provider) revert NotParty(name, msg.sender);
        _close(name, Ending.Declined, 0);
    }

    // ── Both ──

    /// A split that one party sends and the other has signed.
    function settle(bytes32 name, uint256 toProvider, uint256 deadline, bytes calldata signature)
        external
        nonReentrant
    {
        Job storage job = _jobs[name];
        if (block.timestamp > deadline) revert TooLate(deadline);
        address other = job.provider;
        if (msg.sender == other) other = job.client;
        else if (msg.sender != job.client) revert NotParty(name, msg.sender);
        Consent.requireOf(other, settlementDigest(name, toProvider, deadline), signature);
        _close(name, Ending.Settled, toProvider);
    }

    // ── The arbiter ──

    function rule(bytes32 name, uint256 toProvider) external nonReentrant {
        Job storage job = _jobs[name];
        if (msg.sender != job.arbiter) revert NotParty(name, msg.sender);
        if (job.state != State.Disputed) revert WrongState(name, job.state);
        if (block.timestamp > job.deadline) revert TooLate(job.deadline);
        _close(name, Ending.Ruled, toProvider);
    }

    // ── Anyone, once somebody's time has run out ──

    /// Ends what waits for a party that said nothing: no delivery pays the client, no objection the provider, no
    /// ruling both as agreed.
    function close(bytes32 name) external nonReentrant {
        Job storage job = _jobs[name];
        State state = job.state;
        if (state == State.None || state == State.Closed) revert WrongState(name, state);
        if (block.timestamp <= job.deadline) revert TooEarly(job.deadline);
        if (state == State.Open) _close(name, Ending.Refunded, 0);
        else if (state == State.Delivered) _close(name, Ending.Silence, job.amount);
        // The odd unit goes to the client, who paid.
        else _close(name, Ending.ArbiterSilent, uint256(job.amount) * job.silenceShare / WHOLE);
    }

    // ── Below ──

    function _requireSound(Terms calldata terms) private view {
        if (terms.provider == address(0) || terms.arbiter == address(0)) revert ZeroAddress();
        if (terms.provider == msg.sender || terms.arbiter == msg.sender || terms.arbiter == terms.provider) {
            revert PartiesNotDistinct();
        }
        if (
            terms.deliverBy <= block.timestamp || terms.deliverBy > block.timestamp + DELIVER_SECONDS_MAX
                || terms.reviewSeconds < REVIEW_SECONDS_MIN || terms.reviewSeconds > REVIEW_SECONDS_MAX
                || terms.ruleSeconds < RULE_SECONDS_MIN || terms.ruleSeconds > RULE_SECONDS_MAX
        ) revert TimesOutOfBounds();
        if (terms.silenceShare > WHOLE) revert SplitOutOfBounds(terms.silenceShare, WHOLE);
    }

    function _accept(bytes32 name, bytes32 result) private {
        Job storage job = _jobs[name];
        State state = job.state;
        if (state != State.Delivered && state != State.Disputed) revert WrongState(name, state);
        if (result != job.result) revert ResultDiffers(job.result, result);
        _close(name, Ending.Accepted, job.amount);
    }

    /// The only place money leaves. The name stays taken; everything else is forgotten before anybody is paid.
    function _close(bytes32 name, Ending ending, uint256 toProvider) private {
        Job storage job = _jobs[name];
        if (job.state == State.None || job.state == State.Closed) revert WrongState(name, job.state);
        (address client, address provider, uint256 amount) = (job.client, job.provider, job.amount);
        if (toProvider > amount) revert SplitOutOfBounds(toProvider, amount);
        delete _jobs[name];
        _jobs[name].state = State.Closed;
        emit Closed(name, ending, toProvider, amount - toProvider);
        _pay(provider, toProvider);
        _pay(client, amount - toProvider);
    }
}
