// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {AnyToken} from "./AnyToken.sol";
import {SYMBOLS} from "./Symbols.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Vm} from "../base/Vm.sol";
import {PaymentManager} from "../../src/PaymentManager.sol";

/// Proves that escrow conserves: from any state of the books, for any caller, any arguments, any signatures and any
/// token, a call that succeeds changes what a job holds and what its parties are owed together by what the contract's
/// balance changed; a job that is closed holds nothing; no other job, and nobody else's due, is touched.
///
/// Each proof is one step, and what it assumes of the state before it asserts of the state after: so it holds after
/// any number of steps. halmos takes a broken `assert` for a failure and a revert for a call that did not succeed.
contract EscrowProofs {
    Vm private constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    PaymentManager private manager;
    AnyToken private token;

    /// The job that a call names, and the two accounts that it may make richer.
    bytes32 private _job;
    address private _first;
    address private _second;

    /// Another job, and somebody who is no party of this one.
    bytes32 private otherJob;
    address private bystander;

    struct Books {
        uint256 money;
        uint256 held;
        uint256 bystandersDue;
        bytes32 otherJobsHash;
    }

    function setUp() external {
        token = new AnyToken();
        manager = new PaymentManager(IERC20(address(token)));
        SYMBOLS.enableSymbolicStorage(address(token));
        SYMBOLS.enableSymbolicStorage(address(manager));
        // Beyond 48 bits of seconds a deadline would not fit its field: in nine million years.
        vm.warp(SYMBOLS.createUint(47, "now"));
        otherJob = SYMBOLS.createBytes32("other job");
        bystander = SYMBOLS.createAddress("bystander");
    }

    function check_create(address caller, PaymentManager.Terms calldata terms, bytes32 salt) external {
        bytes32 job = manager.nameOf(caller, terms, salt);
        Books memory before = _before(job, caller, terms.provider);
        vm.prank(caller);
        manager.create(terms, salt);
        _after(before);
        assert(manager.jobOf(job).amount == terms.amount);
    }

    function check_accept(address caller, bytes32 job, bytes32 result) external {
        Books memory before = _before(job);
        vm.prank(caller);
        manager.accept(job, result);
        _after(before);
    }

    function check_accept_by_signature(address caller, bytes32 job, bytes32 result, uint256 deadline)
        external
    {
        bytes memory signature = SYMBOLS.createBytes(65, "signature");
        Books memory before = _before(job);
        vm.prank(caller);
        manager.acceptBySignature(job, result, deadline, signature);
        _after(before);
    }

    function check_dispute(address caller, bytes32 job, bytes32 evidence) external {
        Books memory before = _before(job);
        vm.prank(caller);
        manager.dispute(job, evidence);
        _after(before);
    }

    function check_deliver(address caller, bytes32 job, bytes32 result) external {
        Books memory before = _before(job);
        vm.prank(caller);
        manager.deliver(job, result);
        _after(before);
    }

    function check_decline(address caller, bytes32 job) external {
        Books memory before = _before(job);
        vm.prank(caller);
        manager.decline(job);
        _after(before);
    }

    function check_settle(address caller, bytes32 job, uint256 toProvider, uint256 deadline) external {
        bytes memory signature = SYMBOLS.createBytes(65, "signature");
        Books memory before = _before(job);
        vm.prank(caller);
        manager.settle(job, toProvider, deadline, signature);
        _after(before);
    }

    function check_rule(address caller, bytes32 job, uint256 toProvider) external {
        Books memory before = _before(job);
        vm.prank(caller);
        manager.rule(job, toProvider);
        _after(before);
    }

    function check_close(address caller, bytes32 job) external {
        Books memory before = _before(job);
        vm.prank(caller);
        manager.close(job);
        _after(before);
    }

    function check_collect(address caller, address to, bytes32 job) external {
        Books memory before = _before(job, caller, caller);
        vm.prank(caller);
        manager.collect(to);
        _after(before);
    }

    // ── Below ──

    /// For a call that may close a job: its client and its provider may be paid.
    function _before(bytes32 job) private returns (Books memory) {
        PaymentManager.Job memory known = manager.jobOf(job);
        return _before(job, known.client, known.provider);
    }

    function _before(bytes32 job, address first, address second) private returns (Books memory) {
        (_job, _first, _second) = (job, first, second);
        vm.assume(otherJob != job && bystander != first && bystander != second);
        vm.assume(_isEmptyWhereItShouldBe(job));
        // What is owed is held, and what is held is below any token's supply.
        vm.assume(manager.owed(first) <= type(uint192).max && manager.owed(second) <= type(uint192).max);
        return _books();
    }

    function _after(Books memory before) private view {
        Books memory after_ = _books();
        unchecked {
            assert(after_.money - before.money == after_.held - before.held);
        }
        assert(_isEmptyWhereItShouldBe(_job));
        assert(after_.bystandersDue == before.bystandersDue);
        assert(after_.otherJobsHash == before.otherJobsHash);
    }

    function _isEmptyWhereItShouldBe(bytes32 name) private view returns (bool) {
        PaymentManager.Job memory job = manager.jobOf(name);
        bool open = job.state != PaymentManager.State.None && job.state != PaymentManager.State.Closed;
        return open || job.amount == 0;
    }

    function _books() private view returns (Books memory books) {
        unchecked {
            books.money = uint256(manager.jobOf(_job).amount) + manager.owed(_first);
            if (_second != _first) books.money += manager.owed(_second);
        }
        books.held = token.held();
        books.bystandersDue = manager.owed(bystander);
        books.otherJobsHash = keccak256(abi.encode(manager.jobOf(otherJob)));
    }
}
