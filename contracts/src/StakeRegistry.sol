// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Dues} from "./base/Dues.sol";

/// Who runs which node, and what it stands to lose.
///
/// **Records.** An operator's record of a node carries the node's libp2p key and that key's signature over
/// `bindingMessage`. The chain cannot check an Ed25519 signature at a bearable price, so it does not: the record
/// is checked by whoever reads it, and counts for nothing where the signature is not good. A record's name hashes
/// operator and key together, so that registering somebody's key first, without its signature, takes nothing
/// from its owner.
///
/// **Stakes.** What is bonded can be slashed, and so can what is being unbonded until its time has come.
///
/// ```text
///   stake ─► bonded ─ unbond ─► unbonding, slashable ─ UNBOND_SECONDS, and a proposal made in them ─► withdraw
///   propose (bond, evidence) ─ ANSWER_SECONDS ─► the judge upholds or rejects ─ PROPOSAL_SECONDS ─► expired
/// ```
/// **Slashing.** Anyone may propose one with a bond of a tenth; a claim takes at most a fifth of what it found.
/// Rejected, the bond is the operator's; upheld, the proposer has a tenth of what is taken and the commons the
/// rest, so that a judge in league with a proposer gains little; on silence the proposal is void.
///
/// **No stake is frozen.** Unbonding can always be begun. Only a proposal made before its time was over delays a
/// withdrawal, once and by `PROPOSAL_SECONDS` at most, however many proposals there are: a later one does not
/// reach that stake, nor does it delay it.
contract StakeRegistry is Dues {
    error NotOperator(bytes32 node, address caller);
    error NotJudge(address caller);
    error SignatureLengthWrong(uint256 length);
    error DidLengthWrong(uint256 length);
    error NoServices();
    error BondMinimumZero();
    error JudgeIsCommons();
    error StakeTooLow(uint256 bonded, uint256 wanted);
    error NothingUnbonding(bytes32 node);
    error TooEarly(uint256 until);
    error TooLate(uint256 since);
    error NoProposal(uint256 proposal);
    error AboveCap(uint256 asked, uint256 cap);

    event Registered(
        bytes32 indexed node,
        address indexed operator,
        bytes32 indexed peerIdHash,
        bytes32 peerKey,
        bytes signature,
        string did,
        uint32 services
    );
    event Staked(bytes32 indexed node, uint256 amount);
    event Unbonding(bytes32 indexed node, uint256 amount, uint64 releaseAt);
    event Rebonded(bytes32 indexed node, uint256 amount);
    event Withdrawn(bytes32 indexed node, address indexed to, uint256 amount);
    event Proposed(
        uint256 indexed proposal,
        bytes32 indexed node,
        address indexed proposer,
        uint256 amount,
        uint256 bond,
        bytes32 evidence,
        uint64 expiresAt
    );
    event Answered(uint256 indexed proposal, bytes32 answer);
    event Upheld(uint256 indexed proposal, uint256 slashed);
    event Rejected(uint256 indexed proposal);
    event Lapsed(uint256 indexed proposal);

    struct Node {
        address operator;
        uint32 services;
        uint96 bonded;
        uint96 unbonding;
        /// When what is unbonding is out of reach of new proposals; 0 where nothing is.
        uint64 releaseAt;
        /// Until when a proposal made before then delays its withdrawal.
        uint64 heldUntil;
        bytes32 peerIdHash;
        bytes32 didHash;
    }

    struct Proposal {
        bytes32 node;
        address proposer;
        uint96 amount;
        uint96 bond;
        uint64 openedAt;
        bytes32 evidence;
    }

    /// Longer than a proposal lives: what is bonded when a proposal is made is still there when it ends.
    uint64 public constant UNBOND_SECONDS = 14 days;
    uint64 public constant PROPOSAL_SECONDS = 7 days;
    /// An operator asleep is heard before the judge rules.
    uint64 public constant ANSWER_SECONDS = 2 days;
    /// Of what can be slashed, for one claim.
    uint256 public constant CAP_DIVISOR = 5;
    /// Of the claim, as a bond; and of what is taken, for the proposer.
    uint256 public constant TENTH = 10;
    /// A `did:web` name fits; an event is not a place for documents.
    uint256 public constant DID_BYTES_MAX = 256;

    /// Rules on proposals and has no other power. The operators that stake here chose this deployment with it.
    address public immutable judge;
    /// Receives what is slashed.
    address public immutable commons;
    uint96 public immutable bondMinimum;

    mapping(bytes32 name => Node) private _nodes;
    mapping(uint256 number => Proposal) private _proposals;
    uint256 public proposalCount;

    constructor(IERC20 token_, address judge_, address commons_, uint96 bondMinimum_) Dues(token_) {
        if (judge_ == address(0) || commons_ == address(0)) revert ZeroAddress();
        if (judge_ == commons_) revert JudgeIsCommons();
        if (bondMinimum_ == 0) revert BondMinimumZero();
        (judge, commons, bondMinimum) = (judge_, commons_, bondMinimum_);
    }

    // ── What is known ──

    function nodeOf(bytes32 name) external view returns (Node memory) {
        return _nodes[name];
    }

    function proposalOf(uint256 number) external view returns (Proposal memory) {
        return _proposals[number];
    }

    /// Of the peer id that libp2p gives an Ed25519 key: the identity multihash of its protobuf form.
    function peerIdHashOf(bytes32 peerKey) public pure returns (bytes32) {
        return keccak256(bytes.concat(hex"002408011220", peerKey));
    }

    function nameOf(address operator, bytes32 peerIdHash) public pure returns (bytes32) {
        return keccak256(abi.encode(operator, peerIdHash));
    }

    /// What a node's libp2p key signs to say who operates it; good on this chain and in this contract only.
    function bindingMessage(address operator) external view returns (bytes memory) {
        return bytes.concat(
            "blackhole/stake/binding/1",
            hex"00",
            bytes32(block.chainid),
            bytes20(address(this)),
            bytes20(operator)
        );
    }

    // ── The operator ──

    /// Records a node, or records it anew with another DID or other services.
    function register(bytes32 peerKey, bytes calldata signature, string calldata did, uint32 services)
        external
        returns (bytes32 name)
    {
        if (signature.length != 64) revert SignatureLengthWrong(signature.length);
        if (bytes(did).length == 0 || bytes(did).length > DID_BYTES_MAX) {
            revert DidLengthWrong(bytes(did).length);
        }
        if (services == 0) revert NoServices();
        bytes32 peerIdHash = peerIdHashOf(peerKey);
        name = nameOf(msg.sender, peerIdHash);
        Node storage node = _nodes[name];
        (node.operator, node.services) = (msg.sender, services);
        (node.peerIdHash, node.didHash) = (peerIdHash, keccak256(bytes(did)));
        emit Registered(name, msg.sender, peerIdHash, peerKey, signature, did, services);
    }

    /// Only the operator: nobody else can tie dust to its stake.
    function stake(bytes32 name, uint96 amount) external nonReentrant {
        Node storage node = _ownNode(name);
        node.bonded += amount;
        emit Staked(name, amount);
        _take(msg.sender, amount);
    }

    /// Begins to take a stake out. What was unbonding already waits anew with it.
    function unbond(bytes32 name, uint96 amount) external {
        Node storage node = _ownNode(name);
        if (amount == 0) revert ZeroAmount();
        if (amount > node.bonded) revert StakeTooLow(node.bonded, amount);
        node.bonded -= amount;
        node.unbonding += amount;
        node.releaseAt = uint64(block.timestamp) + UNBOND_SECONDS;
        emit Unbonding(name, amount, node.releaseAt);
    }

    /// Changes its mind.
    function rebond(bytes32 name) external {
        Node storage node = _ownNode(name);
        uint96 amount = node.unbonding;
        if (amount == 0) revert NothingUnbonding(name);
        node.bonded += amount;
        (node.unbonding, node.releaseAt) = (0, 0);
        emit Rebonded(name, amount);
    }

    function withdraw(bytes32 name, address to) external nonReentrant {
        Node storage node = _ownNode(name);
        uint96 amount = node.unbonding;
        if (amount == 0) revert NothingUnbonding(name);
        uint64 until = node.releaseAt > node.heldUntil ? node.releaseAt : node.heldUntil;
        if (block.timestamp < until) revert TooEarly(until);
        (node.unbonding, node.releaseAt) = (0, 0);
        emit Withdrawn(name, to, amount);
        _give(to, amount);
    }

    function answer(uint256 number, bytes32 hash) external {
        Proposal storage proposal = _openProposal(number);
        _ownNode(proposal.node);
        emit Answered(number, hash);
    }

    // ── Slashing ──

    /// What a proposal made now could reach.
    function slashableOf(bytes32 name) public view returns (uint256) {
        Node storage node = _nodes[name];
        return uint256(node.bonded) + (block.timestamp < node.releaseAt ? node.unbonding : 0);
    }

    function bondFor(uint256 amount) public view returns (uint96) {
        uint256 tenth = amount / TENTH;
        return tenth > bondMinimum ? uint96(tenth) : bondMinimum;
    }

    function propose(bytes32 name, uint96 amount, bytes32 evidence)
        external
        nonReentrant
        returns (uint256 number)
    {
        if (amount == 0) revert ZeroAmount();
        uint256 cap = slashableOf(name) / CAP_DIVISOR;
        if (amount > cap) revert AboveCap(amount, cap);
        Node storage node = _nodes[name];
        uint64 expiresAt = uint64(block.timestamp) + PROPOSAL_SECONDS;
        if (block.timestamp < node.releaseAt && expiresAt > node.heldUntil) node.heldUntil = expiresAt;
        uint96 bond = bondFor(amount);
        number = ++proposalCount;
        _proposals[number] = Proposal({
            node: name,
            proposer: msg.sender,
            amount: amount,
            bond: bond,
            openedAt: uint64(block.timestamp),
            evidence: evidence
        });
        emit Proposed(number, name, msg.sender, amount, bond, evidence, expiresAt);
        _take(msg.sender, bond);
    }

    function uphold(uint256 number) external {
        Proposal memory proposal = _ruleOn(number);
        Node storage node = _nodes[proposal.node];
        // What began to unbond after the proposal, or before its time was over then, is still within reach.
        uint96 fromUnbonding = proposal.openedAt < node.releaseAt ? node.unbonding : 0;
        if (fromUnbonding > proposal.amount) fromUnbonding = proposal.amount;
        uint96 fromBonded = proposal.amount - fromUnbonding;
        if (fromBonded > node.bonded) fromBonded = node.bonded;
        node.unbonding -= fromUnbonding;
        node.bonded -= fromBonded;
        uint96 slashed = fromUnbonding + fromBonded;
        uint96 reward = slashed / uint96(TENTH);
        emit Upheld(number, slashed);
        _owe(proposal.proposer, proposal.bond + reward);
        _owe(commons, slashed - reward);
    }

    function reject(uint256 number) external {
        Proposal memory proposal = _ruleOn(number);
        emit Rejected(number);
        _owe(_nodes[proposal.node].operator, proposal.bond);
    }

    /// The judge said nothing: the bond goes back, whoever asks.
    function lapse(uint256 number) external {
        Proposal memory proposal = _openProposal(number);
        uint256 expiresAt = proposal.openedAt + PROPOSAL_SECONDS;
        if (block.timestamp < expiresAt) revert TooEarly(expiresAt);
        delete _proposals[number];
        emit Lapsed(number);
        _owe(proposal.proposer, proposal.bond);
    }

    // ── Below ──

    function _ownNode(bytes32 name) private view returns (Node storage node) {
        node = _nodes[name];
        if (msg.sender != node.operator) revert NotOperator(name, msg.sender);
    }

    function _openProposal(uint256 number) private view returns (Proposal storage proposal) {
        proposal = _proposals[number];
        if (proposal.openedAt == 0) revert NoProposal(number);
    }

    /// The judge's word is final and is given once, between the answer's time and the end.
    function _ruleOn(uint256 number) private returns (Proposal memory proposal) {
        if (msg.sender != judge) revert NotJudge(msg.sender);
        proposal = _openProposal(number);
        uint256 answerUntil = proposal.openedAt + ANSWER_SECONDS;
        uint256 expiresAt = proposal.openedAt + PROPOSAL_SECONDS;
        if (block.timestamp < answerUntil) revert TooEarly(answerUntil);
        if (block.timestamp >= expiresAt) revert TooLate(expiresAt);
        delete _proposals[number];
    }
}
