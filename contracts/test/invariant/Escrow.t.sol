// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Hostility, Watched} from "./Hostility.sol";
import {PaymentManager} from "../../src/PaymentManager.sol";

/// Everybody is somebody's client, provider and arbiter.
contract EscrowWorld is Hostility {
    PaymentManager public manager;
    bytes32[] private jobs;
    mapping(bytes32 job => uint256) private _client;
    mapping(bytes32 job => uint256) private _provider;
    mapping(bytes32 job => uint256) private _amount;

    constructor() {
        manager = new PaymentManager(_begin());
        _watch(address(manager));
    }

    function create(uint256 who, uint256 other, uint256 third, uint96 amount, uint256 seed) external {
        if (jobs.length >= 40) return;
        // Mostly three parties and sound times; else a world would see few jobs.
        if (seed % 8 > 0) (other, third) = (who % ACTORS + 1, who % ACTORS + 2);
        PaymentManager.Terms memory terms = PaymentManager.Terms({
            provider: actor(other),
            amount: amount % 1e9,
            arbiter: actor(third),
            deliverBy: uint64(block.timestamp + seed % 3 days),
            reviewSeconds: 9 minutes + uint32(seed >> 64) % 3 days,
            ruleSeconds: 23 hours + uint32(seed >> 128) % 5 days,
            silenceShare: uint16(seed >> 192) % 10_050,
            specification: bytes32(seed)
        });
        bytes32 name = manager.nameOf(actor(who), terms, bytes32(seed % 7));
        (bool success,) = act(actor(who), seed, abi.encodeCall(manager.create, (terms, bytes32(seed % 7))));
        if (!success) return;
        jobs.push(name);
        (_client[name], _provider[name], _amount[name]) = (who, other, terms.amount);
    }

    function deliver(uint256 which, uint256 who, bool right, uint8 result) external {
        bytes32 job = _job(which);
        act(_caller(right, _provider[job], who), which, abi.encodeCall(manager.deliver, (job, _hash(result))));
    }

    function accept(uint256 which, uint256 who, bool right, uint8 result) external {
        bytes32 job = _job(which);
        PaymentManager.Job memory before = manager.jobOf(job);
        (bool success,) = act(
            _caller(right, _client[job], who), which, abi.encodeCall(manager.accept, (job, _hash(result)))
        );
        check(!success || before.result == _hash(result), "no other result is accepted than was delivered");
    }

    function accept_by_signature(uint256 which, uint256 who, bool right, uint8 result) external {
        bytes32 job = _job(which);
        PaymentManager.Job memory before = manager.jobOf(job);
        uint256 signer = right ? _client[job] : who;
        bytes memory signature =
            signLong(keyOfActor(signer), manager.acceptanceDigest(job, _hash(result), block.timestamp));
        (bool success,) = act(
            actor(who),
            which,
            abi.encodeCall(manager.acceptBySignature, (job, _hash(result), block.timestamp, signature))
        );
        if (!success) return;
        check(actor(signer) == before.client, "only the client's signature accepts");
        check(before.result == _hash(result), "and only what was delivered");
    }

    function dispute(uint256 which, uint256 who, bool right) external {
        bytes32 job = _job(which);
        act(_caller(right, _client[job], who), which, abi.encodeCall(manager.dispute, (job, "evidence")));
    }

    function decline(uint256 which, uint256 who, bool right) external {
        bytes32 job = _job(which);
        act(_caller(right, _provider[job], who), which, abi.encodeCall(manager.decline, (job)));
    }

    function rule(uint256 which, uint256 who, bool right, uint256 toProvider) external {
        bytes32 job = _job(which);
        PaymentManager.Job memory before = manager.jobOf(job);
        address caller = right ? before.arbiter : actor(who);
        toProvider %= _amount[job] + 2;
        (bool success,) = act(caller, which, abi.encodeCall(manager.rule, (job, toProvider)));
        check(!success || before.state == PaymentManager.State.Disputed, "no ruling without a dispute");
    }

    function settle(uint256 which, uint256 who, bool right, uint256 toProvider) external {
        bytes32 job = _job(which);
        toProvider %= _amount[job] + 2;
        bytes memory signature = signLong(
            keyOfActor(right ? _provider[job] : who),
            manager.settlementDigest(job, toProvider, block.timestamp)
        );
        act(
            actor(_client[job]),
            which,
            abi.encodeCall(manager.settle, (job, toProvider, block.timestamp, signature))
        );
    }

    function close(uint256 which, uint256 who) external {
        bytes32 job = _job(which);
        PaymentManager.Job memory before = manager.jobOf(job);
        (bool success,) = act(actor(who), which, abi.encodeCall(manager.close, (job)));
        check(!success || block.timestamp > before.deadline, "nobody is closed out before its time");
    }

    function collect(uint256 who, uint256 to) external {
        act(actor(who), to, abi.encodeCall(manager.collect, (actor(to))));
    }

    function time_reaches_a_deadline(uint256 which, uint256 seed) external {
        _reach(manager.jobOf(_job(which)).deadline, seed);
    }

    // ── What must hold ──

    function check_books() external view override {
        uint256 sum = 0;
        for (uint256 index = 0; index < jobs.length; ++index) {
            PaymentManager.Job memory job = manager.jobOf(jobs[index]);
            check(job.state != PaymentManager.State.None, "no job is forgotten");
            bool closed = job.state == PaymentManager.State.Closed;
            checkEqual(job.amount, closed ? 0 : _amount[jobs[index]], "a job holds all of its money, or none");
            sum += job.amount;
        }
        for (uint256 index = 0; index < ACTORS; ++index) {
            sum += manager.owed(actor(index));
        }
        checkEqual(held(), sum + surplus, "what is held is what open jobs hold and what is owed");
    }

    /// Whatever has happened: every job ends and everybody is paid.
    function check_end() external override {
        vm.warp(block.timestamp + 366 days);
        for (uint256 index = 0; index < jobs.length; ++index) {
            if (manager.jobOf(jobs[index]).state != PaymentManager.State.Closed) manager.close(jobs[index]);
        }
        for (uint256 index = 0; index < ACTORS; ++index) {
            token.setBlocked(actor(index), false);
            if (manager.owed(actor(index)) == 0) continue;
            vm.prank(actor(index));
            manager.collect(actor(index));
        }
        checkEqual(held(), 0, "nothing is left behind");
    }

    // ── Below ──

    function _job(uint256 which) private view returns (bytes32) {
        if (jobs.length == 0) return bytes32(which);
        // Every other time the newest: with it the most can still be done.
        return jobs[which % 2 == 0 ? jobs.length - 1 : (which >> 1) % jobs.length];
    }

    function _caller(bool right, uint256 whose, uint256 who) private view returns (address) {
        return actor(right ? whose : who);
    }

    function _hash(uint8 result) private pure returns (bytes32) {
        return keccak256(abi.encode(result % 2));
    }

    function _reentry(uint256 seed) internal view override returns (bytes memory) {
        if (seed % 2 == 0) return abi.encodeCall(manager.collect, (actor(seed)));
        return abi.encodeCall(manager.close, (_job(seed)));
    }
}

contract EscrowInvariants is Watched {
    EscrowWorld private world;

    function setUp() external {
        world = new EscrowWorld();
    }

    function invariant_escrow_holds_what_open_jobs_hold_and_what_is_owed() external view {
        world.check_books();
    }

    function _world() internal view override returns (Hostility) {
        return world;
    }
}
